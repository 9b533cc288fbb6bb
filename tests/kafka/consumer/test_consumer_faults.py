"""The intake while servers, logs and workers misbehave: each record has its effect once, whatever happens."""

from __future__ import annotations

import signal

import pytest

from els_stream.embedded.servers import EmbeddedServers
from tests.support.consumer_testbed import PARTITIONS, ConsumerTestbed

# So that there is a middle to be disturbed in, however fast the machine.
SLOWLY: dict[str, object] = {"pause": 0.02}
MANY = [f"record {number}" for number in range(10_000)]
SOME = MANY[:3_000]


async def test_a_worker_that_slept_beyond_its_session_doubles_nothing(bed: ConsumerTestbed, in_flight: int) -> None:
    async with bed.streaming():
        sleeper = bed.start(transactions_in_flight=in_flight, micro_batch_records=20)
        await bed.more(500)
        sleeper.signal(signal.SIGSTOP)
        other = bed.start(transactions_in_flight=in_flight, micro_batch_records=20)
        await bed.taken_over()
        sleeper.signal(signal.SIGCONT)
        await bed.ready(other)
        await bed.ready(sleeper)
    await bed.all_done_once()


async def test_errors_around_commit_lose_and_double_nothing(bed: ConsumerTestbed, in_flight: int) -> None:
    bed.start(transactions_in_flight=in_flight, micro_batch_records=50, faults={"before": 0.2, "after": 0.2})
    await bed.produce(SOME[:1_500])
    await bed.all_done_once(within=60)


async def test_a_slow_handler_is_not_thrown_out_of_the_group(bed: ConsumerTestbed) -> None:
    await bed.produce(SOME)
    worker = bed.start(micro_batch_records=200, buffered_records_per_partition=200, faults={"pause": 0.4})
    await bed.all_done_once()
    assert worker.running


async def test_group_offsets_moved_ahead_or_back_change_nothing(bed: ConsumerTestbed) -> None:
    await bed.produce(SOME)
    worker = bed.start()
    await bed.all_done_once()
    await worker.stop()
    await bed.produce(SOME)
    ends = await bed.ends()
    await bed.move_group(ends)
    worker = bed.start()
    await bed.all_done_once()
    await worker.stop()
    await bed.move_group(dict.fromkeys(ends, 0))
    await bed.produce(SOME)
    bed.start()
    await bed.all_done_once()


@pytest.mark.parametrize("count", [300, 3_000, 6_000], ids=["shorter", "as long", "longer"])
async def test_a_topic_made_anew_is_read_from_its_beginning(bed: ConsumerTestbed, count: int) -> None:
    await bed.produce(SOME)
    worker = bed.start()
    await bed.all_done_once()
    await worker.stop()
    await bed.delete_topics("alpha")
    await bed.make_topics("alpha")
    await bed.forget_effects()
    await bed.produce([f"new {number}" for number in range(count)])
    bed.start()
    await bed.all_done_once()


async def test_a_topic_made_anew_under_a_running_worker_is_noticed(bed: ConsumerTestbed) -> None:
    worker = bed.start()
    await bed.produce(SOME)
    await bed.all_done_once()
    await bed.delete_topics("alpha")
    await bed.until(lambda: bed.says(worker, "partitions_unassigned"), 20)
    await bed.make_topics("alpha")
    await bed.forget_effects()
    await bed.produce(MANY[:600])
    await bed.all_done_once()
    await bed.ready(worker)


async def test_offsets_that_kafka_no_longer_has_are_passed_over(bed: ConsumerTestbed) -> None:
    await bed.produce(MANY[:300])
    await bed.cut(dict.fromkeys(range(PARTITIONS), 60))
    bed.start()
    await bed.all_done_once(but=PARTITIONS * 60)


async def test_a_database_that_dies_and_comes_back_is_waited_for(
    bed: ConsumerTestbed, servers: EmbeddedServers, in_flight: int
) -> None:
    worker = bed.start(transactions_in_flight=in_flight, micro_batch_records=50, faults=SLOWLY)
    await bed.produce(MANY)
    await bed.more(1_000)
    await servers.postgres.kill()
    await bed.until(lambda: bed.says(worker, "retrying"), 10)
    assert (await worker.get("/livez"))[0] == 200
    await servers.postgres.start()
    await bed.all_done_once()
    await bed.ready(worker)


async def test_a_broker_that_dies_and_comes_back_is_waited_for(
    bed: ConsumerTestbed, servers: EmbeddedServers, in_flight: int
) -> None:
    worker = bed.start(
        transactions_in_flight=in_flight, micro_batch_records=50, buffered_records_per_partition=500, faults=SLOWLY
    )
    await bed.produce(MANY)
    await bed.more(1_000)
    await servers.kafka.kill()
    await bed.until(lambda: bed.says(worker, "broker_unreachable"), 20)
    await servers.kafka.start()
    await bed.all_done_once(within=60)
    await bed.ready(worker, 60)


@pytest.mark.parametrize("away", ["postgres", "kafka"])
async def test_a_worker_stops_in_time_while_a_server_is_away(
    bed: ConsumerTestbed, servers: EmbeddedServers, away: str
) -> None:
    await bed.produce(MANY)
    worker = bed.start(micro_batch_records=50, faults=SLOWLY)
    await bed.more(1_000)
    server = servers.postgres if away == "postgres" else servers.kafka
    await server.kill()
    assert await worker.stop() < 5
    await server.start()
    bed.start()
    await bed.all_done_once(within=60)

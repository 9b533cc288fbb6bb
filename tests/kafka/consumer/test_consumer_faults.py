"""The consumer while servers, logs and workers fail: each record has its effect once."""

from __future__ import annotations

import signal

import pytest

from els_stream.embedded.servers import EmbeddedServers
from els_stream.kafka.offsets import Partition
from els_stream.queries import consumed_offsets, skipped_offsets
from tests.support.consumer_testbed import PARTITIONS, ConsumerTestbed

# Slow enough for a fault in the middle, on any machine.
SLOWLY: dict[str, object] = {"pause": 0.02}
MANY = [f"record {number}" for number in range(10_000)]
SOME = MANY[:3_000]
STOP_SECONDS = 5


async def test_a_worker_stopped_beyond_its_session_doubles_nothing(testbed: ConsumerTestbed, in_flight: int) -> None:
    async with testbed.streaming():
        stopped = testbed.start(transactions_in_flight=in_flight, micro_batch_records=20)
        await testbed.progress(500)
        stopped.signal(signal.SIGSTOP)
        other = testbed.start(transactions_in_flight=in_flight, micro_batch_records=20)
        await testbed.taken_over()
        stopped.signal(signal.SIGCONT)
        await testbed.ready(other)
        await testbed.ready(stopped)
    await testbed.all_processed_once()


async def test_errors_around_commit_lose_and_double_nothing(testbed: ConsumerTestbed, in_flight: int) -> None:
    testbed.start(transactions_in_flight=in_flight, micro_batch_records=50, faults={"before": 0.2, "after": 0.2})
    await testbed.produce(SOME[:1_500])
    await testbed.all_processed_once(within=60)


async def test_a_worker_with_a_slow_handler_stays_in_the_group(testbed: ConsumerTestbed) -> None:
    await testbed.produce(SOME)
    worker = testbed.start(micro_batch_records=200, buffered_records_per_partition=200, faults={"pause": 0.4})
    await testbed.all_processed_once()
    assert worker.running


async def test_group_offsets_changed_from_outside_have_no_effect(testbed: ConsumerTestbed) -> None:
    await testbed.produce(SOME)
    worker = testbed.start()
    await testbed.all_processed_once()
    await worker.stop()
    await testbed.produce(SOME)
    ends = await testbed.ends()
    await testbed.set_group_offsets(ends)
    worker = testbed.start()
    await testbed.all_processed_once()
    await worker.stop()
    await testbed.set_group_offsets(dict.fromkeys(ends, 0))
    await testbed.produce(SOME)
    testbed.start()
    await testbed.all_processed_once()


@pytest.mark.parametrize("count", [300, 3_000, 6_000], ids=["shorter", "as long", "longer"])
async def test_a_recreated_topic_is_read_from_its_beginning(testbed: ConsumerTestbed, count: int) -> None:
    await testbed.produce(SOME)
    worker = testbed.start()
    await testbed.all_processed_once()
    await worker.stop()
    await testbed.delete_topics("alpha")
    await testbed.make_topics("alpha")
    await testbed.delete_effects()
    await testbed.produce([f"new {number}" for number in range(count)])
    testbed.start()
    await testbed.all_processed_once()


async def test_a_running_worker_notices_a_recreated_topic(testbed: ConsumerTestbed) -> None:
    worker = testbed.start()
    await testbed.produce(SOME)
    await testbed.all_processed_once()
    await testbed.delete_topics("alpha")
    await testbed.until(lambda: testbed.has_code(worker, "partitions_unassigned"), 20)
    await testbed.make_topics("alpha")
    await testbed.delete_effects()
    await testbed.produce(MANY[:600])
    await testbed.all_processed_once()
    await testbed.ready(worker)


async def test_offsets_that_kafka_no_longer_has_are_skipped(testbed: ConsumerTestbed) -> None:
    await testbed.produce(MANY[:300])
    await testbed.delete_records(dict.fromkeys(range(PARTITIONS), 60))
    testbed.start()
    await testbed.all_processed_once(but=PARTITIONS * 60)


async def test_offsets_that_kafka_deleted_while_no_worker_ran_are_kept_for_verify(testbed: ConsumerTestbed) -> None:
    await testbed.produce(MANY[:30])
    worker = testbed.start()
    await testbed.all_processed_once()
    await worker.stop()
    await testbed.produce(MANY[:300])
    await testbed.delete_records(dict.fromkeys(range(PARTITIONS), 60))
    testbed.start()
    await testbed.all_processed_once(but=PARTITIONS * 50)
    async with testbed.engine.connect() as conn:
        lost = await skipped_offsets.read_all(conn, testbed.group)
    ranges = sorted((one.partition.partition, one.first, one.last) for one in lost)
    assert ranges == [(number, 10, 59) for number in range(PARTITIONS)]
    assert "offsets 10 to 59 were skipped by a worker at" in str(lost[0])


async def test_transaction_markers_that_kafka_deleted_while_no_worker_ran_are_no_loss(testbed: ConsumerTestbed) -> None:
    """Retention deletes all of a quiet partition, with the marker that no stored offset moves past."""
    await testbed.produce(MANY[:30], transaction=testbed.prefix)
    worker = testbed.start()
    markers = dict.fromkeys((Partition(testbed.prefix + "alpha", number) for number in range(PARTITIONS)), 11)

    async def is_read() -> bool:
        async with testbed.engine.connect() as conn:
            return await consumed_offsets.read_until(conn, testbed.group) == markers

    await testbed.until(is_read, 10)
    await worker.stop()
    await testbed.delete_records(dict.fromkeys(range(PARTITIONS), 11))
    testbed.start()
    await testbed.produce(SOME)
    await testbed.all_processed_once()
    async with testbed.engine.connect() as conn:
        assert await skipped_offsets.read_all(conn, testbed.group) == []
    assert "Kafka no longer has" not in testbed.log()


async def test_a_worker_waits_for_a_killed_database(
    testbed: ConsumerTestbed, servers: EmbeddedServers, in_flight: int
) -> None:
    worker = testbed.start(transactions_in_flight=in_flight, micro_batch_records=50, faults=SLOWLY)
    await testbed.produce(MANY)
    await testbed.progress(1_000)
    await servers.postgres.kill()
    await testbed.until(lambda: testbed.has_code(worker, "retrying"), 10)
    assert (await worker.get("/livez"))[0] == 200
    await servers.postgres.start()
    await testbed.all_processed_once()
    await testbed.ready(worker)


async def test_a_worker_waits_for_a_killed_broker(
    testbed: ConsumerTestbed, servers: EmbeddedServers, in_flight: int
) -> None:
    worker = testbed.start(
        transactions_in_flight=in_flight, micro_batch_records=50, buffered_records_per_partition=500, faults=SLOWLY
    )
    await testbed.produce(MANY)
    await testbed.progress(1_000)
    await servers.kafka.kill()
    await testbed.until(lambda: testbed.has_code(worker, "broker_unreachable"), 20)
    await servers.kafka.start()
    await testbed.all_processed_once(within=60)
    await testbed.ready(worker, 60)


@pytest.mark.wall_clock
@pytest.mark.parametrize("away", ["postgres", "kafka"])
async def test_a_worker_stops_within_five_seconds_without_a_server(
    testbed: ConsumerTestbed, servers: EmbeddedServers, away: str
) -> None:
    await testbed.produce(MANY)
    worker = testbed.start(micro_batch_records=50, faults=SLOWLY)
    await testbed.progress(1_000)
    server = servers.postgres if away == "postgres" else servers.kafka
    await server.kill()
    assert await worker.stop() < STOP_SECONDS
    await server.start()
    testbed.start()
    await testbed.all_processed_once(within=60)

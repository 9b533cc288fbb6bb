"""The faults of the intake in their long forms: asked for with `-m long`."""

from __future__ import annotations

import asyncio
import signal

import pytest

from els_stream.embedded.servers import EmbeddedServers
from tests.support.consumer_testbed import ConsumerTestbed

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
OUTAGE_SECONDS = 10


async def test_twenty_kills_lose_and_double_nothing(bed: ConsumerTestbed, in_flight: int) -> None:
    await bed.make_topics("beta", "gamma")
    async with bed.streaming():
        for _ in range(20):
            worker = bed.start(transactions_in_flight=in_flight, micro_batch_records=20)
            await bed.more(300)
            await worker.kill()
    bed.start(transactions_in_flight=in_flight)
    await bed.all_done_once(within=120)


async def test_a_storm_of_workers_loses_and_doubles_nothing(bed: ConsumerTestbed, in_flight: int) -> None:
    await bed.make_topics("beta")
    async with bed.streaming():
        workers = [bed.start(transactions_in_flight=in_flight, micro_batch_records=20)]
        for change in range(12):
            await bed.more(500)
            if len(workers) < 3:
                workers.append(bed.start(transactions_in_flight=in_flight, micro_batch_records=20))
            elif change % 2:
                await workers.pop(0).stop()
            else:
                await workers.pop(0).kill()
    await bed.all_done_once(within=120)


async def test_a_worker_that_sleeps_again_and_again_doubles_nothing(bed: ConsumerTestbed, in_flight: int) -> None:
    async with bed.streaming():
        workers = [bed.start(transactions_in_flight=in_flight, micro_batch_records=20) for _ in range(2)]
        await bed.ready(workers[1])
        for turn in range(6):
            sleeper = workers[turn % 2]
            sleeper.signal(signal.SIGSTOP)
            await bed.taken_over()
            sleeper.signal(signal.SIGCONT)
            await bed.ready(sleeper, 60)
    await bed.all_done_once(within=120)


@pytest.mark.parametrize("away", ["postgres", "kafka"])
async def test_a_long_outage_is_waited_for(
    bed: ConsumerTestbed, servers: EmbeddedServers, away: str, in_flight: int
) -> None:
    await bed.produce([f"record {number}" for number in range(20_000)])
    worker = bed.start(transactions_in_flight=in_flight, micro_batch_records=20, buffered_records_per_partition=500)
    await bed.more(500)
    server = servers.postgres if away == "postgres" else servers.kafka
    await server.kill()
    await asyncio.sleep(OUTAGE_SECONDS)  # an outage is a time, not a condition
    assert (await worker.get("/livez"))[0] == 200
    await server.start()
    await bed.all_done_once(within=120)
    await bed.ready(worker, 60)

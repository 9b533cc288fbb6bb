"""Faults of the consumer in their long forms, run with `-m long`."""

from __future__ import annotations

import asyncio
import signal

import pytest

from els_stream.embedded.servers import EmbeddedServers
from tests.support.consumer_testbed import ConsumerTestbed

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
OUTAGE_SECONDS = 10


async def test_twenty_kills_lose_and_double_nothing(testbed: ConsumerTestbed, in_flight: int) -> None:
    await testbed.make_topics("beta", "gamma")
    async with testbed.streaming():
        for _ in range(20):
            worker = testbed.start(transactions_in_flight=in_flight, micro_batch_records=20)
            await testbed.progress(300)
            await worker.kill()
    testbed.start(transactions_in_flight=in_flight)
    await testbed.all_processed_once(within=120)


async def test_many_joins_stops_and_kills_lose_and_double_nothing(testbed: ConsumerTestbed, in_flight: int) -> None:
    await testbed.make_topics("beta")
    async with testbed.streaming():
        workers = [testbed.start(transactions_in_flight=in_flight, micro_batch_records=20)]
        for change in range(12):
            await testbed.progress(500)
            if len(workers) < 3:
                workers.append(testbed.start(transactions_in_flight=in_flight, micro_batch_records=20))
            elif change % 2:
                await workers.pop(0).stop()
            else:
                await workers.pop(0).kill()
    await testbed.all_processed_once(within=120)


async def test_workers_stopped_again_and_again_double_nothing(testbed: ConsumerTestbed, in_flight: int) -> None:
    async with testbed.streaming():
        workers = [testbed.start(transactions_in_flight=in_flight, micro_batch_records=20) for _ in range(2)]
        await testbed.ready(workers[1])
        for turn in range(6):
            stopped = workers[turn % 2]
            stopped.signal(signal.SIGSTOP)
            await testbed.taken_over()
            stopped.signal(signal.SIGCONT)
            await testbed.ready(stopped, 60)
    await testbed.all_processed_once(within=120)


@pytest.mark.parametrize("away", ["postgres", "kafka"])
async def test_workers_wait_for_the_end_of_a_long_outage(
    testbed: ConsumerTestbed, servers: EmbeddedServers, away: str, in_flight: int
) -> None:
    await testbed.produce([f"record {number}" for number in range(20_000)])
    worker = testbed.start(transactions_in_flight=in_flight, micro_batch_records=20, buffered_records_per_partition=500)
    await testbed.progress(500)
    server = servers.postgres if away == "postgres" else servers.kafka
    await server.kill()
    await asyncio.sleep(OUTAGE_SECONDS)  # an outage is a time, not a condition
    assert (await worker.get("/livez"))[0] == 200
    await server.start()
    await testbed.all_processed_once(within=120)
    await testbed.ready(worker, 60)

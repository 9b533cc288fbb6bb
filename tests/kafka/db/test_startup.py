from __future__ import annotations

import pytest

from els_stream.embedded.servers import EmbeddedServers
from tests.support.consumer_testbed import ConsumerTestbed
from tests.support.effects_worker_process import EffectsWorkerProcess

SOME = [f"record {number}" for number in range(300)]


async def waiting(testbed: ConsumerTestbed) -> EffectsWorkerProcess:
    """A worker that was started while the broker is away."""
    worker = testbed.start()
    await testbed.until(lambda: testbed.has_code(worker, "rebalancing"), 20)
    return worker


async def test_a_worker_that_starts_before_its_broker_waits_for_it(
    testbed: ConsumerTestbed, servers: EmbeddedServers
) -> None:
    await testbed.produce(SOME)
    await servers.kafka.kill()
    worker = await waiting(testbed)
    assert (await worker.get("/livez"))[0] == 200
    await servers.kafka.start()
    await testbed.all_processed_once()
    await testbed.ready(worker)
    await worker.stop()
    assert worker.process.returncode == 0


@pytest.mark.wall_clock
async def test_a_worker_that_waits_for_its_broker_stops_in_time(
    testbed: ConsumerTestbed, servers: EmbeddedServers
) -> None:
    await servers.kafka.kill()
    worker = await waiting(testbed)
    assert await worker.stop() < 5
    await servers.kafka.start()

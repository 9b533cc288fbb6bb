from __future__ import annotations

from els_stream.embedded.servers import EmbeddedServers
from tests.support.consumer_testbed import ConsumerTestbed, Worker

SOME = [f"record {number}" for number in range(300)]


async def waiting(bed: ConsumerTestbed) -> Worker:
    """A worker that was started while the broker is away."""
    worker = bed.start()
    await bed.until(lambda: bed.says(worker, "rebalancing"), 20)
    return worker


async def test_a_worker_that_starts_before_its_broker_waits_for_it(
    bed: ConsumerTestbed, servers: EmbeddedServers
) -> None:
    await bed.produce(SOME)
    await servers.kafka.kill()
    worker = await waiting(bed)
    assert (await worker.get("/livez"))[0] == 200
    await servers.kafka.start()
    await bed.all_done_once()
    await bed.ready(worker)
    await worker.stop()
    assert worker.process.returncode == 0


async def test_a_worker_that_waits_for_its_broker_stops_in_time(bed: ConsumerTestbed, servers: EmbeddedServers) -> None:
    await servers.kafka.kill()
    worker = await waiting(bed)
    assert await worker.stop() < 5
    await servers.kafka.start()

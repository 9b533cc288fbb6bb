"""What the intake does while nothing fails, and at the orders that a worker gets every day."""

from __future__ import annotations

import asyncio

from tests.kafka.bed import Bed

# So that there is a middle to be disturbed in, however fast the machine.
SLOWLY: dict[str, object] = {"pause": 0.02}
MANY = [f"record {number}" for number in range(10_000)]


async def test_each_record_has_its_effect_once_over_several_topics(bed: Bed, in_flight: int) -> None:
    await bed.make_topics("beta", "gamma")
    worker = bed.start(transactions_in_flight=in_flight)
    await bed.produce(MANY)
    await bed.all_done_once()
    await bed.ready(worker)


async def test_a_killed_worker_loses_and_doubles_nothing(bed: Bed, in_flight: int) -> None:
    await bed.make_topics("beta")
    await bed.produce(MANY)
    for _ in range(4):
        worker = bed.start(transactions_in_flight=in_flight, micro_batch_records=100, faults=SLOWLY)
        await bed.more(1_500)
        await worker.kill()
    bed.start(transactions_in_flight=in_flight)
    await bed.all_done_once()


async def test_a_stopped_worker_ends_in_time_and_loses_nothing(bed: Bed, in_flight: int) -> None:
    await bed.produce(MANY)
    for _ in range(3):
        worker = bed.start(transactions_in_flight=in_flight, micro_batch_records=100, faults=SLOWLY)
        await bed.more(1_500)
        assert await worker.stop() < 5
        assert worker.process.returncode == 0
    bed.start(transactions_in_flight=in_flight)
    await bed.all_done_once()


async def test_workers_join_and_leave_in_the_middle(bed: Bed, in_flight: int) -> None:
    await bed.make_topics("beta")
    producing = asyncio.create_task(bed.produce(MANY))
    workers = [bed.start(transactions_in_flight=in_flight, micro_batch_records=50, faults=SLOWLY)]
    for _ in range(3):
        await bed.more(2_000)
        workers.append(bed.start(transactions_in_flight=in_flight, micro_batch_records=50, faults=SLOWLY))
        await bed.more(2_000)
        await workers.pop(0).stop()
    await producing
    await bed.all_done_once()

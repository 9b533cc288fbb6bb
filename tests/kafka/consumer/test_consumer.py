"""What the intake does while nothing fails, and at the orders that a worker gets every day."""

from __future__ import annotations

from tests.support.consumer_testbed import ConsumerTestbed

MANY = [f"record {number}" for number in range(10_000)]


async def test_each_record_has_its_effect_once_over_several_topics(bed: ConsumerTestbed, in_flight: int) -> None:
    await bed.make_topics("beta", "gamma")
    worker = bed.start(transactions_in_flight=in_flight)
    await bed.produce(MANY)
    await bed.all_done_once()
    await bed.ready(worker)


async def test_a_killed_worker_loses_and_doubles_nothing(bed: ConsumerTestbed, in_flight: int) -> None:
    await bed.make_topics("beta")
    async with bed.streaming():
        for _ in range(3):
            worker = bed.start(transactions_in_flight=in_flight, micro_batch_records=20)
            await bed.more(500)
            await worker.kill()
    bed.start(transactions_in_flight=in_flight)
    await bed.all_done_once()


async def test_a_stopped_worker_ends_in_time_and_loses_nothing(bed: ConsumerTestbed, in_flight: int) -> None:
    async with bed.streaming():
        for _ in range(2):
            worker = bed.start(transactions_in_flight=in_flight, micro_batch_records=20)
            await bed.more(500)
            assert await worker.stop() < 5
            assert worker.process.returncode == 0
    bed.start(transactions_in_flight=in_flight)
    await bed.all_done_once()


async def test_workers_join_and_leave_in_the_middle(bed: ConsumerTestbed, in_flight: int) -> None:
    await bed.make_topics("beta")
    async with bed.streaming():
        workers = [bed.start(transactions_in_flight=in_flight, micro_batch_records=20)]
        for _ in range(2):
            await bed.more(500)
            workers.append(bed.start(transactions_in_flight=in_flight, micro_batch_records=20))
            await bed.ready(workers[-1])
            await workers.pop(0).stop()
    await bed.all_done_once()

"""The consumer while nothing fails, and when workers are stopped, killed and added."""

from __future__ import annotations

from tests.support.consumer_testbed import ConsumerTestbed

MANY = [f"record {number}" for number in range(10_000)]


async def test_each_record_has_one_effect_over_several_topics(testbed: ConsumerTestbed, in_flight: int) -> None:
    await testbed.make_topics("beta", "gamma")
    worker = testbed.start(transactions_in_flight=in_flight)
    await testbed.produce(MANY)
    await testbed.all_processed_once()
    await testbed.ready(worker)


async def test_a_killed_worker_loses_and_doubles_nothing(testbed: ConsumerTestbed, in_flight: int) -> None:
    await testbed.make_topics("beta")
    async with testbed.streaming():
        for _ in range(3):
            worker = testbed.start(transactions_in_flight=in_flight, micro_batch_records=20)
            await testbed.progress(500)
            await worker.kill()
    testbed.start(transactions_in_flight=in_flight)
    await testbed.all_processed_once()


async def test_a_stopped_worker_exits_cleanly_and_loses_nothing(testbed: ConsumerTestbed, in_flight: int) -> None:
    async with testbed.streaming():
        for _ in range(2):
            worker = testbed.start(transactions_in_flight=in_flight, micro_batch_records=20)
            await testbed.progress(500)
            await worker.stop()
            assert worker.process.returncode == 0
    testbed.start(transactions_in_flight=in_flight)
    await testbed.all_processed_once()


async def test_workers_join_and_leave_under_load(testbed: ConsumerTestbed, in_flight: int) -> None:
    await testbed.make_topics("beta")
    async with testbed.streaming():
        workers = [testbed.start(transactions_in_flight=in_flight, micro_batch_records=20)]
        for _ in range(2):
            await testbed.progress(500)
            workers.append(testbed.start(transactions_in_flight=in_flight, micro_batch_records=20))
            await testbed.ready(workers[-1])
            await workers.pop(0).stop()
    await testbed.all_processed_once()

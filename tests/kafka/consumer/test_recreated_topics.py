"""Topics that were deleted, created again, and have outgrown the stored offset: read from their beginning."""

from __future__ import annotations

import signal

from aiokafka import AIOKafkaProducer
from sqlalchemy import text

from tests.support.consumer_testbed import ConsumerTestbed

VALUES = text("SELECT DISTINCT convert_from(value, 'UTF8') FROM effects")
IDS = text("SELECT DISTINCT topic_id FROM consumed_offsets WHERE topic_id IS NOT NULL")


async def values(testbed: ConsumerTestbed) -> set[str]:
    async with testbed.engine.connect() as conn:
        return set((await conn.execute(VALUES)).scalars())


async def all_handled(testbed: ConsumerTestbed, expected: set[str]) -> None:
    async def handled() -> bool:
        return expected <= await values(testbed)

    await testbed.until(handled, 30)


async def recreate(testbed: ConsumerTestbed) -> None:
    await testbed.delete_topics("alpha")
    await testbed.make_topics("alpha")


async def test_a_marker_in_place_of_the_last_record_is_no_proof(testbed: ConsumerTestbed) -> None:
    """Each new record is a transaction of its own: where the last processed record was, there is a marker now."""
    await testbed.produce([f"old {number}" for number in range(12)], partition=0)
    worker = testbed.start()
    await testbed.wait_for_effects(12)
    await worker.stop()
    await recreate(testbed)
    producer = AIOKafkaProducer(bootstrap_servers=testbed.broker, transactional_id=f"{testbed.group}-upstream")
    await producer.start()
    for number in range(20):
        await producer.begin_transaction()
        await producer.send_and_wait(testbed.prefix + "alpha", b"new %d" % number, partition=0)
        await producer.commit_transaction()
    await producer.stop()

    testbed.start()

    await all_handled(testbed, {f"new {number}" for number in range(20)})
    assert "the topic was recreated; the stored offset moves from 12 to 0" in testbed.log()
    async with testbed.engine.connect() as conn:
        assert len((await conn.execute(IDS)).all()) == 1


async def test_a_frozen_worker_finds_the_topic_recreated_and_outgrown(testbed: ConsumerTestbed) -> None:
    await testbed.produce([f"old {number}" for number in range(300)], partition=0)
    worker = testbed.start(session_timeout_seconds=20, heartbeat_interval_seconds=2, rebalance_timeout_seconds=25)
    await testbed.wait_for_effects(300)
    await testbed.ready(worker)
    worker.signal(signal.SIGSTOP)
    await recreate(testbed)
    await testbed.produce([f"new {number}" for number in range(800)], partition=0)
    worker.signal(signal.SIGCONT)

    await all_handled(testbed, {f"new {number}" for number in range(800)})

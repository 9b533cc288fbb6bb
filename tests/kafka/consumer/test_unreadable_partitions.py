"""What a broker returns that cannot be read, or not at present: one partition waits, with its place; none loses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from sqlalchemy import text

from els_stream.config.settings import Settings
from tests.support.cli import els
from tests.support.consumer_testbed import PARTITIONS, ConsumerTestbed
from tests.support.effects_worker_process import EffectsWorkerProcess
from tests.support.kafka_clients import admin_client
from tests.support.log_segments import LogSegment
from tests.support.second_broker import SecondBroker

MANY = [f"record {number:05}" for number in range(9_000)]
OFFSETS = text('SELECT "offset" FROM effects WHERE partition = :partition ORDER BY 1')
HEADERS = text("SELECT headers FROM dead_letters")


def segment(settings: Settings, testbed: ConsumerTestbed, partition: int) -> LogSegment:
    return LogSegment(settings.state_dir / "kafka" / "data", testbed.prefix + "alpha", partition)


async def reasons(worker: EffectsWorkerProcess, code: str) -> list[str]:
    _, body = await worker.get("/readyz")
    return [str(reason["detail"]) for reason in body.get("reasons", ()) if reason["code"] == code]


async def offsets(testbed: ConsumerTestbed, partition: int) -> list[int]:
    async with testbed.engine.connect() as conn:
        return list((await conn.execute(OFFSETS, {"partition": partition})).scalars())


async def test_a_batch_with_a_bad_checksum_stops_its_partition_alone(
    testbed: ConsumerTestbed, server_settings: Settings
) -> None:
    """Before: up to a quarter of the healthy partitions was skipped for good."""
    await testbed.produce(MANY)
    broken = segment(server_settings, testbed, 2)
    bad = broken.replace(b"record 01502", b"record 0150X", mend_checksum=False)
    worker = testbed.start()
    each = len(MANY) // PARTITIONS

    async def others_processed() -> bool:
        return [len(await offsets(testbed, number)) for number in (0, 1)] == [each, each]

    await testbed.until(others_processed, 40)
    await testbed.until(partial(testbed.has_code, worker, "partition_paused"), 20)
    (detail,) = await reasons(worker, "partition_paused")
    assert f"alpha/2: nothing can be read at offset {bad.first_offset}: CorruptRecordException" in detail
    assert f"{bad.first_offset} to {bad.last_offset}" in detail
    assert await offsets(testbed, 2) == list(range(bad.first_offset)), "the records before it are processed"
    broken.replace(b"record 0150X", b"record 01502", mend_checksum=False)
    await testbed.all_processed_once()
    await testbed.ready(worker)


async def test_a_damaged_record_that_is_processed_already_stops_nothing(
    testbed: ConsumerTestbed, server_settings: Settings
) -> None:
    """A start compares the last processed record with the log; the topic's id is proof enough where it can't."""
    await testbed.produce(MANY[:300])
    worker = testbed.start()
    await testbed.all_processed_once()
    await worker.stop()
    segment(server_settings, testbed, 2).replace(b"record 00299", b"record 0029X", mend_checksum=False)
    await testbed.produce(MANY[300:600])
    worker = testbed.start()
    await testbed.all_processed_once()
    await testbed.ready(worker)
    assert "alpha/2: the last processed record can't be compared: CorruptRecordException" in testbed.log()


async def test_a_header_name_that_is_not_utf8_becomes_a_dead_letter(
    testbed: ConsumerTestbed, server_settings: Settings
) -> None:
    """Before: every worker ended with UnicodeDecodeError, again and again."""
    await testbed.produce(MANY[:300])
    producer = AIOKafkaProducer(bootstrap_servers=testbed.broker)
    await producer.start()
    await producer.send_and_wait(testbed.prefix + "alpha", b"bad header", partition=1, headers=[("l~n", b"1")])
    await producer.stop()
    testbed.sent += 1
    await testbed.produce(MANY[300:600])
    segment(server_settings, testbed, 1).replace(b"l~n", b"l\xe4n", mend_checksum=True)
    worker = testbed.start()
    await testbed.all_processed_once(but=1)
    assert await testbed.dead_letters() == {"bad header": "bad_text"}
    async with testbed.engine.connect() as conn:
        assert (await conn.execute(HEADERS)).scalar_one() == b'[["l\\udce4n","1"]]'
    await testbed.ready(worker)


async def test_transaction_markers_are_no_lost_records(testbed: ConsumerTestbed) -> None:
    """Before: an error line, a second fetch and a loss figure for each marker that a fetch began with."""
    worker = testbed.start()
    await testbed.produce(["before"])
    await testbed.wait_for_effects(1)
    producer = AIOKafkaProducer(bootstrap_servers=testbed.broker, transactional_id=str(uuid4()))
    await producer.start()
    for number in range(30):
        await producer.begin_transaction()
        await producer.send_and_wait(testbed.prefix + "alpha", b"record %d" % number, partition=1)
        if number % 5 == 4:
            await producer.abort_transaction()
        else:
            await producer.commit_transaction()
            testbed.sent += 1
            await testbed.wait_for_effects(testbed.sent)
    await producer.stop()
    await testbed.ready(worker)
    assert await testbed.count() == testbed.sent
    assert "Kafka no longer has" not in testbed.log()


async def test_a_command_steps_over_what_nothing_can_read(
    testbed: ConsumerTestbed, server_settings: Settings, tmp_path: Path
) -> None:
    await testbed.produce(MANY[:900])
    bad = segment(server_settings, testbed, 2).replace(b"record 00002", b"record 0000X", mend_checksum=False)
    worker = testbed.start()
    await testbed.until(partial(testbed.has_code, worker, "partition_paused"), 30)
    environment = {
        "ELS_BROKER_URL": testbed.broker,
        "ELS_DATABASE_URL": testbed.database,
        "ELS_CONSUMER_GROUP": testbed.group,
        "ELS_STATE_DIR": str(tmp_path),
    }
    place = [testbed.prefix + "alpha", "2"]
    note = ["--note", "bad checksum"]
    for first, last in ((bad.first_offset + 1, bad.last_offset), (bad.first_offset, 900)):
        refused = await els(environment, "dlq", "skip", *place, str(first), str(last), *note)
        assert (refused.exit_code, "nothing was skipped" in refused.stderr) == (1, True)
    skipped = [*place, str(bad.first_offset), str(bad.last_offset)]
    done = await els(environment, "dlq", "skip", *skipped, *note)
    assert done.exit_code == 0, done.stderr
    await testbed.all_processed_once(but=bad.last_offset - bad.first_offset + 1)
    await testbed.ready(worker)
    verified = await els(environment, "verify")
    assert f"alpha/2: offsets {bad.first_offset} to {bad.last_offset} were skipped by" in verified.stdout


@pytest.fixture
async def second_broker(server_settings: Settings, tmp_path: Path) -> AsyncIterator[SecondBroker]:
    broker = SecondBroker(server_settings.state_dir, tmp_path)
    yield broker
    await broker.kill()


async def test_a_partition_without_a_leader_stops_no_other(
    testbed: ConsumerTestbed, second_broker: SecondBroker
) -> None:
    """Before: nothing at all was consumed from the next restart on, and no place was named."""
    await testbed.until(partial(_group_exists, testbed), 20)
    await second_broker.start()
    async with admin_client(testbed.broker) as admin:
        await admin.create_topics(
            [NewTopic(testbed.prefix + "spread", -1, -1, replica_assignments={0: [1], 1: [1], 2: [2]})]
        )
    testbed.topics = ["spread"]
    await testbed.produce(MANY[:90])
    await second_broker.kill()
    worker = testbed.start()
    await testbed.wait_for_effects(60, 40)
    await testbed.until(partial(testbed.has_code, worker, "partition_paused"), 30)
    (detail,) = await reasons(worker, "partition_paused")
    assert detail.startswith(f"{testbed.prefix}spread/2: ")
    await testbed.produce(MANY[:30], partition=0)
    await testbed.wait_for_effects(90, 40)
    await second_broker.start()
    await testbed.all_processed_once(within=60)
    await testbed.ready(worker, 40)
    await second_broker.kill()  # as before, but the worker runs and has the partition
    await testbed.until(partial(testbed.has_code, worker, "partition_paused"), 30)
    assert await reasons(worker, "partition_paused") == [f"{testbed.prefix}spread/2: no broker leads this partition"]


async def _group_exists(testbed: ConsumerTestbed) -> bool:
    """The group's offsets topic is created by the first commit, while there is one broker."""
    await testbed.set_group_offsets({(testbed.prefix + "alpha", 0): 0})
    return True

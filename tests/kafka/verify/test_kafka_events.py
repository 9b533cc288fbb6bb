"""`els verify --kafka` names each difference between tables and Kafka that is made by hand."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import Settings, load_settings
from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from els_stream.events.headers import decode_headers, encode_headers
from els_stream.kafka.admin import admin_client
from els_stream.kafka.log_offsets import read_logs
from els_stream.queries.outbox_rows import WaitingRow
from els_stream.verify import kafka_events, offset_progress
from els_stream.verify.invariants import Finding
from els_stream.verify.runner import verify
from tests.support.batch_harness import BatchHarness
from tests.support.unsent_events import remove_events, unsent_events
from tests.support.waiting import until

CLASS = "class-9b"
AT = topics.CONTENT_PROVISIONED
_ADVANCE = """
    INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset)
    VALUES ('essay-lifecycle-service', :topic, :partition, :offset)
    ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET next_offset = excluded.next_offset
"""


def _another(batch_id: str) -> bytes:
    """Return the headers of an event of a batch that no table has."""
    return encode_headers((("ce_id", str(uuid4()).encode()), ("ce_subject", batch_id.encode())))


ANOTHER = _another("batch-x")


def later_than(milliseconds: int) -> bool:
    return time.time_ns() // 1_000_000 > milliseconds


@dataclass
class VerifyTestbed:
    harness: BatchHarness
    settings: Settings
    producer: AIOKafkaProducer

    async def rows(self) -> list[WaitingRow]:
        async with self.harness.engine.connect() as conn:
            return await unsent_events(conn)

    async def send(self, rows: Sequence[WaitingRow], *, at: int | None = None) -> None:
        """Send in this order, each with a later timestamp, or all with `at` (milliseconds)."""
        for row in rows:
            await until(partial(later_than, time.time_ns() // 1_000_000), every=0)
            await self.producer.send_and_wait(
                self.settings.topic_prefix + row.topic,
                row.value,
                key=row.key,
                headers=list(decode_headers(row.headers)),
                timestamp_ms=at,
            )

    async def publish(self, rows: Sequence[WaitingRow]) -> None:
        await self.send(rows)
        await self.remove(rows)

    async def remove(self, rows: Sequence[WaitingRow]) -> None:
        """Remove the events from the outbox."""
        async with self.harness.engine.begin() as conn:
            await remove_events(conn, rows)

    async def delete_all_of(self, *wanted: str) -> None:
        """Delete what these topics hold, as Kafka does after their retention."""
        names = [self.settings.topic_prefix + topic for topic in wanted]
        logs = await read_logs(self.settings.broker, names)
        async with admin_client(self.settings.broker) as admin:
            await admin.delete_records(
                {TopicPartition(*tp): RecordsToDelete(log.end) for tp, log in logs.items() if log.end}
            )

    async def findings(self, *, clock_skew_ms: int = 0) -> list[Finding]:
        return [finding async for finding in verify(self.settings, kafka=True, clock_skew_ms=clock_skew_ms)]

    async def violated(self) -> dict[str, Sequence[str]]:
        found = await self.findings()
        assert len(found) == 13
        return {finding.invariant: finding.examples for finding in found if finding.violated}

    async def put(self, topic: str, records: int, *, transaction: bool = False) -> None:
        """Send input records to partition 0."""
        producer = self.producer
        if transaction:
            producer = AIOKafkaProducer(bootstrap_servers=str(self.settings.broker), transactional_id=str(uuid4()))
            await producer.start()
            await producer.begin_transaction()
        for number in range(records):
            await producer.send_and_wait(self.settings.topic_prefix + topic, b"%d" % number, partition=0)
        if transaction:
            await producer.commit_transaction()
            await producer.stop()

    async def store_offset(self, topic: str, offset: int) -> None:
        await self.harness.execute(_ADVANCE, topic=self.settings.topic_prefix + topic, partition=0, offset=offset)


@pytest.fixture
async def testbed(
    engine: AsyncEngine,
    database: str,
    addresses: Addresses,
    topic_prefix: str,
    kafka_topics: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[VerifyTestbed]:
    """A completed REGULAR batch, an excess content and a dead letter, all events in the outbox."""
    assert kafka_topics
    monkeypatch.setattr(offset_progress, "STALL_SECONDS", 0.3)
    harness = BatchHarness(engine=engine)
    await harness.together(harness.registration(essays=2, class_id=CLASS))
    await harness.together(harness.content(0))
    await harness.together(harness.failure(1))
    await harness.together(harness.content(2), harness.record(AT, b"Dear Sir or Madam,"))
    await harness.together(harness.associations(2))
    settings = load_settings(topic_prefix=topic_prefix, broker_url=addresses.broker, database_url=database)
    producer = AIOKafkaProducer(bootstrap_servers=addresses.broker)
    await producer.start()
    yield VerifyTestbed(harness, settings, producer)
    await producer.stop()


async def test_published_and_waiting_events_violate_nothing(testbed: VerifyTestbed) -> None:
    rows = await testbed.rows()
    await testbed.publish(rows[:3])
    assert await testbed.violated() == {}
    await testbed.publish(rows[3:])
    await testbed.send(rows)  # copies, as after a crash between ack and delete
    assert await testbed.violated() == {}


async def test_a_missing_event_is_named(testbed: VerifyTestbed) -> None:
    rows = await testbed.rows()
    lost = next(row for row in rows if row.topic == topics.SLOT_ASSIGNED)
    await testbed.publish([row for row in rows if row is not lost])
    await testbed.remove([lost])

    event = f"{topics.SLOT_ASSIGNED} of batch 'batch-of-9b' batch-of-9b-essay-00000/text-batch-of-9b-00000"
    assert await testbed.violated() == {"I5 kafka": [f"{event} is neither in the outbox nor in Kafka"]}


async def test_events_that_kafka_has_deleted_are_counted_and_no_violation(testbed: VerifyTestbed) -> None:
    rows = await testbed.rows()
    await testbed.publish(rows)
    await testbed.delete_all_of(topics.SLOT_ASSIGNED, topics.DEAD_LETTER)

    found = await testbed.findings()

    deleted = [row for row in rows if row.topic in {topics.SLOT_ASSIGNED, topics.DEAD_LETTER}]
    assert not any(finding.violated for finding in found)
    checked = {finding.invariant: finding.checked for finding in found}
    assert (checked["I5 kafka"], checked["I5 deleted"]) == (len(rows) - len(deleted), len(deleted))


async def test_an_event_is_lost_if_its_fact_is_newer_than_what_kafka_deleted(
    testbed: VerifyTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_events, "TOLERANCE_MS", 0)
    rows = await testbed.rows()
    (assigned,) = (row for row in rows if row.topic == topics.SLOT_ASSIGNED)
    await testbed.remove(rows)
    await testbed.send([row for row in rows if row is not assigned])
    long_ago = 1
    await testbed.send([assigned._replace(headers=ANOTHER)], at=long_ago)
    await testbed.delete_all_of(topics.SLOT_ASSIGNED)
    await testbed.send([assigned._replace(headers=ANOTHER)], at=long_ago)

    found = {finding.invariant: finding.examples for finding in await testbed.findings() if finding.violated}

    (lost,) = found["I5 kafka"]
    assert lost.startswith(f"{topics.SLOT_ASSIGNED} of batch 'batch-of-9b'")


async def test_events_after_deleted_ones_have_no_place_in_the_order(testbed: VerifyTestbed) -> None:
    rows = await testbed.rows()
    await testbed.publish(rows)
    await testbed.delete_all_of(topics.SLOT_ASSIGNED)
    await testbed.send([row for row in rows if row.topic == topics.SLOT_ASSIGNED])  # copies of what was deleted

    assert await testbed.violated() == {}


async def test_topics_that_do_not_exist_are_named_with_the_number_of_their_events(testbed: VerifyTestbed) -> None:
    rows = await testbed.rows()
    await testbed.publish(rows)
    testbed.settings = testbed.settings.model_copy(update={"topic_prefix": "nowhere."})

    lost = (await testbed.violated())["I5 kafka"]

    assert sorted(lost) == sorted(
        f"the broker has no topic nowhere.{topic}; {events} events should be in it"
        for topic, events in Counter(row.topic for row in rows).items()
    )


async def test_events_of_batches_whose_tombstones_may_be_gone_are_no_violation(testbed: VerifyTestbed) -> None:
    rows = await testbed.rows()
    await testbed.publish(rows)
    day_ms = 86_400_000
    oldest = time.time_ns() // 1_000_000 - testbed.settings.tombstone_retention_days * day_ms
    strange = rows[0]._replace(headers=ANOTHER)

    await testbed.send([strange], at=oldest - day_ms)
    assert await testbed.violated() == {}

    await testbed.send([strange._replace(headers=_another("batch-y"))], at=oldest + day_ms)
    assert list(await testbed.violated()) == ["I4 kafka"]


async def test_an_event_that_follows_from_no_table_is_named(testbed: VerifyTestbed) -> None:
    rows = await testbed.rows()
    await testbed.publish(rows)
    identity = uuid4()
    strange = rows[0]._replace(headers=encode_headers((("ce_id", str(identity).encode()), ("ce_subject", b"batch-x"))))
    await testbed.send([strange])

    assert await testbed.violated() == {
        "I4 kafka": [f"{strange.topic} {identity} of batch 'batch-x' is in Kafka, but follows from no table"]
    }


async def test_a_copy_with_other_bytes_and_a_record_without_an_id_are_named(testbed: VerifyTestbed) -> None:
    rows = await testbed.rows()
    await testbed.publish(rows)
    await testbed.send([rows[0]._replace(value=b"{}"), rows[0]._replace(headers=b"[]")])

    found = await testbed.violated()

    assert list(found) == ["I4 kafka"]
    altered, without_id = found["I4 kafka"]
    assert altered.startswith(str(rows[0].event_id))
    assert altered.endswith("repeats an event id with other bytes")
    assert without_id.endswith("has no event id")


async def test_events_that_were_published_out_of_order_are_named(testbed: VerifyTestbed) -> None:
    rows = await testbed.rows()
    assigned = [row for row in rows if row.topic == topics.SLOT_ASSIGNED]
    await testbed.publish([row for row in rows if row not in assigned] + assigned)

    found = await testbed.violated()

    assert list(found) == ["I8 kafka"]
    assert (
        f"batch 'batch-of-9b': {topics.PROVISIONING_COMPLETED} was published before the last of {topics.SLOT_ASSIGNED}"
        in found["I8 kafka"]
    )


async def test_timestamps_within_the_skew_of_the_clocks_say_nothing_about_the_order(testbed: VerifyTestbed) -> None:
    rows = await testbed.rows()
    assigned = [row for row in rows if row.topic == topics.SLOT_ASSIGNED]
    now = time.time_ns() // 1_000_000
    await testbed.remove(rows)
    await testbed.send([row for row in rows if row not in assigned], at=now)
    await testbed.send(assigned, at=now + 20)

    assert [finding.invariant for finding in await testbed.findings(clock_skew_ms=19) if finding.violated] == [
        "I8 kafka"
    ]
    assert not any(finding.violated for finding in await testbed.findings(clock_skew_ms=20))


async def test_a_stored_offset_beyond_the_end_of_the_log_is_named(testbed: VerifyTestbed) -> None:
    await testbed.put(AT, 3)
    await testbed.store_offset(AT, 4)

    (violation,) = (await testbed.violated())["I5 offsets"]
    assert f"{AT}/0: the stored offset 4 is beyond the log's end 3" in violation


async def test_a_stored_offset_that_does_not_move_or_is_missing_is_named(testbed: VerifyTestbed) -> None:
    await testbed.put(AT, 3)
    await testbed.store_offset(AT, 1)
    await testbed.put(topics.BATCH_REGISTERED, 2)

    missing, stalled = sorted((await testbed.violated())["I5 offsets"])
    assert f"{topics.BATCH_REGISTERED}/0: no offset is stored, 2 before the log's end" in missing
    assert f"{AT}/0: the stored offset 1 does not move, 2 before the log's end" in stalled


async def test_offsets_at_the_end_or_moving_or_before_markers_are_no_violation(
    testbed: VerifyTestbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await testbed.put(AT, 3)
    await testbed.store_offset(AT, 3)
    await testbed.put(topics.VALIDATION_FAILED, 2, transaction=True)  # and its marker
    await testbed.store_offset(topics.VALIDATION_FAILED, 2)
    assert await testbed.violated() == {}

    await testbed.delete_all_of(topics.VALIDATION_FAILED)
    (violation,) = (await testbed.violated())["I5 offsets"]
    assert "the stored offset is 2, the log begins at 3: records were deleted unprocessed" in violation
    await testbed.harness.execute("UPDATE consumed_offsets SET read_until = 3 WHERE next_offset = 2")
    assert await testbed.violated() == {}

    monkeypatch.setattr(offset_progress, "STALL_SECONDS", 10)
    await testbed.put(topics.BATCH_REGISTERED, 5)
    await testbed.store_offset(topics.BATCH_REGISTERED, 1)
    verifying = asyncio.create_task(testbed.violated())
    for offset in count(2):
        if verifying.done():
            break
        await testbed.store_offset(topics.BATCH_REGISTERED, 1 + offset % 2)
    assert await verifying == {}

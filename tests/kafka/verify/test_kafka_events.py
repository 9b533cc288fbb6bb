"""The tables against what Kafka holds, each difference made by hand and named; and the ledger against the input."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import Settings, load_settings
from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from els_stream.events.headers import decode_headers, encode_headers
from els_stream.queries import outbox
from els_stream.queries.outbox_rows import SHARD_COUNT, WaitingRow
from els_stream.verify import offset_progress
from els_stream.verify.runner import verify
from tests.support.batch_harness import BatchHarness
from tests.support.waiting import until

CLASS = "class-9b"
AT = topics.CONTENT_PROVISIONED
_ADVANCE = """
    INSERT INTO consumed_offsets (consumer_group, topic, partition, next_offset)
    VALUES ('essay-lifecycle-service', :topic, :partition, :offset)
    ON CONFLICT (consumer_group, topic, partition) DO UPDATE SET next_offset = excluded.next_offset
"""


def later_than(milliseconds: int) -> bool:
    return time.time_ns() // 1_000_000 > milliseconds


@dataclass
class Stage:
    harness: BatchHarness
    settings: Settings
    producer: AIOKafkaProducer

    async def rows(self) -> list[WaitingRow]:
        async with self.harness.engine.connect() as conn:
            return await outbox.fetch(conn, range(SHARD_COUNT), rows=1000, size=2**24)

    async def send(self, rows: Sequence[WaitingRow]) -> None:
        """In this order, each with a later time."""
        for row in rows:
            await until(partial(later_than, time.time_ns() // 1_000_000), every=0)
            await self.producer.send_and_wait(
                self.settings.topic_prefix + row.topic,
                row.value,
                key=row.key,
                headers=list(decode_headers(row.headers)),
            )

    async def relay(self, rows: Sequence[WaitingRow]) -> None:
        await self.send(rows)
        async with self.harness.engine.begin() as conn:
            await outbox.delete(conn, rows)

    async def violated(self) -> dict[str, Sequence[str]]:
        found = [finding async for finding in verify(self.settings, kafka=True)]
        assert len(found) == 12
        return {finding.invariant: finding.shown for finding in found if finding.violated}

    async def put(self, topic: str, records: int, *, transaction: bool = False) -> None:
        """Input of our topics, in partition 0."""
        producer = self.producer
        if transaction:
            producer = AIOKafkaProducer(bootstrap_servers=self.settings.broker, transactional_id=str(uuid4()))
            await producer.start()
            await producer.begin_transaction()
        for number in range(records):
            await producer.send_and_wait(self.settings.topic_prefix + topic, b"%d" % number, partition=0)
        if transaction:
            await producer.commit_transaction()
            await producer.stop()

    async def stand(self, topic: str, offset: int) -> None:
        await self.harness.execute(_ADVANCE, topic=self.settings.topic_prefix + topic, partition=0, offset=offset)


@pytest.fixture
async def stage(
    engine: AsyncEngine,
    database: str,
    addresses: Addresses,
    topic_prefix: str,
    kafka_topics: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Stage]:
    """A REGULAR batch from its registration to its end, an excess content and a dead letter, all told."""
    assert kafka_topics
    monkeypatch.setattr(offset_progress, "PATIENCE_SECONDS", 0.3)
    harness = BatchHarness(engine=engine)
    await harness.together(harness.registration(essays=2, class_id=CLASS))
    await harness.together(harness.content(0))
    await harness.together(harness.failure(1))
    await harness.together(harness.content(2), harness.record(AT, b"Dear Sir or Madam,"))
    await harness.together(harness.associations(2))
    settings = load_settings(topic_prefix=topic_prefix, broker_url=addresses.broker, database_url=database)
    producer = AIOKafkaProducer(bootstrap_servers=addresses.broker)
    await producer.start()
    yield Stage(harness, settings, producer)
    await producer.stop()


async def test_what_was_told_and_what_still_waits_violates_nothing(stage: Stage) -> None:
    rows = await stage.rows()
    await stage.relay(rows[:3])
    assert await stage.violated() == {}
    await stage.relay(rows[3:])
    await stage.send(rows)  # copies, as after a crash between ack and delete
    assert await stage.violated() == {}


async def test_a_missing_event_is_named(stage: Stage) -> None:
    rows = await stage.rows()
    lost = next(row for row in rows if row.topic == topics.SLOT_ASSIGNED)
    await stage.relay([row for row in rows if row is not lost])
    async with stage.harness.engine.begin() as conn:
        await outbox.delete(conn, [lost])

    told = f"{topics.SLOT_ASSIGNED} of batch 'batch-of-9b' batch-of-9b-essay-00000/text-batch-of-9b-00000"
    assert await stage.violated() == {"I5 kafka": [f"{told} is in no outbox and not in Kafka"]}


async def test_an_event_that_no_table_knows_is_named(stage: Stage) -> None:
    rows = await stage.rows()
    await stage.relay(rows)
    identity = uuid4()
    strange = rows[0]._replace(headers=encode_headers((("ce_id", str(identity).encode()), ("ce_subject", b"batch-x"))))
    await stage.send([strange])

    assert await stage.violated() == {
        "I4 kafka": [f"{strange.topic} {identity} of batch 'batch-x' is in Kafka and in no table"]
    }


async def test_a_copy_with_other_bytes_and_a_record_without_an_id_are_named(stage: Stage) -> None:
    rows = await stage.rows()
    await stage.relay(rows)
    await stage.send([rows[0]._replace(value=b"{}"), rows[0]._replace(headers=b"[]")])

    found = await stage.violated()

    assert list(found) == ["I4 kafka"]
    altered, nameless = found["I4 kafka"]
    assert altered.startswith(str(rows[0].event_id))
    assert altered.endswith("repeats an event id with other bytes")
    assert nameless.endswith("holds a record without an event id")


async def test_an_event_before_one_that_became_true_sooner_is_named(stage: Stage) -> None:
    rows = await stage.rows()
    assigned = [row for row in rows if row.topic == topics.SLOT_ASSIGNED]
    await stage.relay([row for row in rows if row not in assigned] + assigned)

    found = await stage.violated()

    assert list(found) == ["I8 kafka"]
    assert (
        f"batch 'batch-of-9b': {topics.PROVISIONING_COMPLETED} was sent before the last of {topics.SLOT_ASSIGNED}"
        in found["I8 kafka"]
    )


async def test_a_ledger_beyond_the_end_of_the_log_is_named(stage: Stage) -> None:
    await stage.put(AT, 3)
    await stage.stand(AT, 4)

    (violation,) = (await stage.violated())["I5 ledger"]
    assert f"{AT}/0 stands at 4, beyond the log's end 3" in violation


async def test_a_ledger_that_stands_still_before_the_end_is_named_and_one_that_was_never_begun(stage: Stage) -> None:
    await stage.put(AT, 3)
    await stage.stand(AT, 1)
    await stage.put(topics.BATCH_REGISTERED, 2)

    never, still = sorted((await stage.violated())["I5 ledger"])
    assert f"{topics.BATCH_REGISTERED}/0 was never begun, 2 before the log's end" in never
    assert f"{AT}/0 stands still at 1, 2 before the log's end" in still


async def test_a_ledger_at_the_end_or_moving_or_before_markers_only_is_no_violation(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.put(AT, 3)
    await stage.stand(AT, 3)
    await stage.put(topics.VALIDATION_FAILED, 2, transaction=True)  # and its marker
    await stage.stand(topics.VALIDATION_FAILED, 2)
    assert await stage.violated() == {}

    monkeypatch.setattr(offset_progress, "PATIENCE_SECONDS", 10)
    await stage.put(topics.BATCH_REGISTERED, 5)
    await stage.stand(topics.BATCH_REGISTERED, 1)
    looking = asyncio.create_task(stage.violated())
    for offset in count(2):
        if looking.done():
            break
        await stage.stand(topics.BATCH_REGISTERED, 1 + offset % 2)
    assert await looking == {}

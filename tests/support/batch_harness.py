"""Applies records to a database without Kafka, and reads the results; each call of `together` is one transaction."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.domain.claim_strategy import Strategy
from els_stream.domain.outcomes import Outcome
from els_stream.events import topics
from els_stream.events.headers import decode_headers
from els_stream.events.records import RawRecord
from els_stream.handlers.batch_events import BatchEventPolicy
from els_stream.handlers.event_handler import DomainHandler
from els_stream.handlers.handler import process
from els_stream.handlers.registration import RegistrationPolicy
from els_stream.handlers.registry import HandlerPolicy, make_handlers
from tests.support import factories as make
from tests.support.unsent_events import empty_outbox, list_unsent, move_all_aside

DEADLINE = timedelta(hours=72)
KINDS = {
    topics.SLOT_ASSIGNED: "assigned",
    topics.EXCESS_CONTENT: "excess",
    topics.VALIDATION_ERRORS: "errors",
    topics.PROVISIONING_COMPLETED: "completed",
    topics.ESSAYS_READY: "ready",
    topics.READINESS_TIMEOUT: "timeout",
    topics.DEAD_LETTER: "dead letter",
}

_OUTBOX = text("""
    SELECT order_key, event_id, sequence, topic, key, value, headers FROM unsent_events
    WHERE CAST(:order_key AS text) IS NULL OR order_key = :order_key ORDER BY position
""")
_SLOTS = text("SELECT * FROM essay_states WHERE batch_id = :batch_id ORDER BY essay_id")


def handlers_by_topic(
    max_pending: int = 20_000, *, strategy: Strategy = Strategy.OPTION_B, advisory_locks: bool = False
) -> Mapping[str, DomainHandler]:
    policy = HandlerPolicy(
        RegistrationPolicy(strategy, DEADLINE), BatchEventPolicy(strategy, advisory_locks, max_pending)
    )
    return {handler.topic: handler for handler in make_handlers(policy).values()}


@dataclass
class RecordFactory:
    """Makes records with ascending offsets, keyed by batch; the same record applied again is a redelivery."""

    offsets: Iterator[int] = field(default_factory=count)

    def record(self, topic: str, value: bytes | None, key: bytes | None = None) -> RawRecord:
        return make.record(topic, value, offset=next(self.offsets), key=key, headers=(("trace", b"\x00\xff"),))

    def registration(self, batch_id: str = make.BATCH, essays: int | Sequence[str] = 3, **fields: object) -> RawRecord:
        return self._of(topics.BATCH_REGISTERED, batch_id, make.registration(batch_id, essays=essays, **fields))

    def content(self, number: int = 0, batch_id: str = make.BATCH, **fields: object) -> RawRecord:
        return self._of(topics.CONTENT_PROVISIONED, batch_id, make.content(batch_id, number=number, **fields))

    def contents(self, numbers: Sequence[int], batch_id: str = make.BATCH) -> list[RawRecord]:
        return [self.content(number, batch_id) for number in numbers]

    def failure(self, number: int = 0, batch_id: str = make.BATCH, **fields: object) -> RawRecord:
        return self._of(topics.VALIDATION_FAILED, batch_id, make.failure(batch_id, number=number, **fields))

    def associations(self, essays: int | Sequence[str] = 3, batch_id: str = make.BATCH, **fields: object) -> RawRecord:
        return self._of(topics.ASSOCIATIONS_CONFIRMED, batch_id, make.associations(batch_id, essays=essays, **fields))

    def _of(self, topic: str, batch_id: str, value: bytes) -> RawRecord:
        return self.record(topic, value, batch_id.encode())


@dataclass(frozen=True)
class OutboxEvent:
    """An outbox row with decoded headers."""

    order_key: str
    event_id: str
    sequence: int
    topic: str
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]

    @property
    def kind(self) -> str:
        return KINDS[self.topic]

    @property
    def envelope(self) -> dict[str, Any]:
        return dict(json.loads(self.value))

    @property
    def data(self) -> dict[str, Any]:
        return dict(self.envelope["data"])


@dataclass
class BatchHarness(RecordFactory):
    engine: AsyncEngine = field(kw_only=True)
    handlers: Mapping[str, DomainHandler] = field(default_factory=handlers_by_topic)

    async def apply(self, conn: AsyncConnection, records: Sequence[RawRecord]) -> list[Outcome]:
        """Apply records of one topic in the caller's transaction."""
        (topic,) = {record.topic for record in records}
        handler = self.handlers[topic]
        return list(await process(handler, conn, records))

    async def together(self, *records: RawRecord) -> list[str]:
        """Apply a micro-batch in one transaction; return the label of each outcome."""
        async with self.engine.begin() as conn:
            return [outcome.label for outcome in await self.apply(conn, records)]

    async def one_by_one(self, *records: RawRecord) -> list[str]:
        """Apply each record in a transaction of its own; return the labels of the outcomes."""
        return [label for record in records for label in await self.together(record)]

    async def rows(self, sql: str, **parameters: object) -> Sequence[Row[Any]]:
        """Return the rows of a query; `unsent_events` has the events of the outbox."""
        async with self.engine.connect() as conn:
            if "unsent_events" in sql:
                await list_unsent(conn)
            return (await conn.execute(text(sql), parameters)).all()

    async def empty_outbox(self) -> None:
        """Delete all events, as if they had been sent."""
        async with self.engine.begin() as conn:
            await empty_outbox(conn)

    async def move_aside(self) -> None:
        """Make an exception of every event in the outbox, a row that queries can change."""
        async with self.engine.begin() as conn:
            await move_all_aside(conn)

    async def execute(self, sql: str, **parameters: object) -> None:
        async with self.engine.begin() as conn:
            await conn.execute(text(sql), parameters)

    @asynccontextmanager
    async def all_sent(self) -> AsyncIterator[None]:
        """Empty the outbox within the block; restore its events afterwards, for the checks that count them."""
        await self.execute("CREATE TABLE sent AS TABLE event_outbox")
        await self.execute("CREATE TABLE sent_segments AS TABLE outbox_segments")
        await self.empty_outbox()
        yield
        await self.execute("INSERT INTO event_outbox OVERRIDING SYSTEM VALUE TABLE sent")
        await self.execute("INSERT INTO outbox_segments OVERRIDING SYSTEM VALUE TABLE sent_segments")
        await self.execute("DROP TABLE sent, sent_segments")

    async def tracker(self, batch_id: str = make.BATCH) -> Row[Any]:
        (row,) = await self.rows("SELECT * FROM batch_essay_trackers WHERE batch_id = :batch_id", batch_id=batch_id)
        return row

    async def counts(self, batch_id: str = make.BATCH) -> tuple[str, int, int, int, int]:
        """Return the state, and the free, filled, failed and pending counts."""
        row = await self.tracker(batch_id)
        return row.state, row.free_count, row.filled_count, row.failed_count, row.pending_count

    async def slots(self, batch_id: str = make.BATCH) -> Sequence[Row[Any]]:
        async with self.engine.connect() as conn:
            return (await conn.execute(_SLOTS, {"batch_id": batch_id})).all()

    async def outbox_events(self, order_key: str | None = None) -> list[OutboxEvent]:
        """Return the events in the outbox, in order."""
        async with self.engine.connect() as conn:
            await list_unsent(conn)
            rows = (await conn.execute(_OUTBOX, {"order_key": order_key})).all()
        return [
            OutboxEvent(
                r.order_key, str(r.event_id), r.sequence, r.topic, r.key, r.value, dict(decode_headers(r.headers))
            )
            for r in rows
        ]

    async def kinds(self, order_key: str | None = make.BATCH) -> list[str]:
        return [event.kind for event in await self.outbox_events(order_key)]

    async def reasons(self) -> list[str]:
        """Return the reasons of the dead letters, in the order in which they were written."""
        return [row.reason for row in await self.rows("SELECT reason FROM dead_letters ORDER BY id")]

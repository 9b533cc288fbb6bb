"""Outbox rows like those of the handlers, for tests that do not need the handlers."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.events import topics
from els_stream.events.event_ids import event_id
from els_stream.events.outbound_event import OutboundEvent
from els_stream.queries.outbox import put
from els_stream.queries.outbox_rows import OutboxRow
from tests.support.waiting import until

# The topics of one batch's events in order; some occur more than once.
TOPIC_ORDER: Final = (
    topics.SLOT_ASSIGNED,
    topics.SLOT_ASSIGNED,
    topics.EXCESS_CONTENT,
    topics.SLOT_ASSIGNED,
    topics.VALIDATION_ERRORS,
    topics.PROVISIONING_COMPLETED,
    topics.ESSAYS_READY,
)


def row(batch: str, sequence: int, topic: str = topics.SLOT_ASSIGNED, *, padding: int = 0) -> OutboxRow:
    value = json.dumps({"batch": batch, "sequence": sequence, "padding": "x" * padding}).encode()
    headers = (("ce_subject", batch.encode()), ("odd", b"\x00\xff"))
    event = OutboundEvent.with_headers(event_id(topic, batch, str(sequence)), topic, batch.encode(), value, headers)
    return OutboxRow(batch, sequence, event)


def batch_rows(batch: str, topic_order: Sequence[str] = TOPIC_ORDER) -> list[OutboxRow]:
    return [row(batch, sequence, topic) for sequence, topic in enumerate(topic_order, start=1)]


async def commit(engine: AsyncEngine, rows: Sequence[OutboxRow]) -> None:
    async with engine.begin() as conn:
        await put(conn, rows)


async def commit_one_by_one(engine: AsyncEngine, batches: Iterable[str], done: list[int] | None = None) -> None:
    """Commit each event in its own transaction, the batches interleaved.

    `done` grows when every batch has one more event.
    """
    rows_by_batch = [batch_rows(batch) for batch in batches]
    for number, events in enumerate(zip(*rows_by_batch, strict=True)):
        await asyncio.gather(*(commit(engine, [event]) for event in events))
        if done is not None:
            done.append(number)


async def rows_left(engine: AsyncEngine) -> int:
    async with engine.connect() as conn:
        found = await conn.scalar(text("SELECT count(*) FROM event_outbox"))
    return int(found or 0)


async def wait_until_empty(engine: AsyncEngine, seconds: float = 30) -> None:
    """Wait until the outbox has no rows."""

    async def empty() -> bool:
        return not await rows_left(engine)

    await until(empty, seconds=seconds)

"""Outbox rows as handlers would write them, for tests that don't need the handlers."""

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

# Events of one batch cross the topics in this order; some topics come again.
CROSSING: Final = (
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


def story(batch: str, crossing: Sequence[str] = CROSSING) -> list[OutboxRow]:
    return [row(batch, sequence, topic) for sequence, topic in enumerate(crossing, start=1)]


async def commit(engine: AsyncEngine, rows: Sequence[OutboxRow]) -> None:
    async with engine.begin() as conn:
        await put(conn, rows)


async def commit_bit_by_bit(engine: AsyncEngine, batches: Iterable[str], done: list[int] | None = None) -> None:
    """A transaction per event, the batches interleaved; `done` grows with each event that all batches have."""
    stories = [story(batch) for batch in batches]
    for number, events in enumerate(zip(*stories, strict=True)):
        await asyncio.gather(*(commit(engine, [event]) for event in events))
        if done is not None:
            done.append(number)


async def left(engine: AsyncEngine) -> int:
    async with engine.connect() as conn:
        found = await conn.scalar(text("SELECT count(*) FROM event_outbox"))
    return int(found or 0)


async def emptied(engine: AsyncEngine, seconds: float = 30) -> None:
    """Waits until everything has left the outbox."""

    async def empty() -> bool:
        return not await left(engine)

    await until(empty, seconds=seconds)

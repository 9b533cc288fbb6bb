"""Outbox rows like those of the handlers, for tests that do not need the handlers."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.domain.batch import OutboxPosition
from els_stream.events import topics
from els_stream.events.event_ids import event_id
from els_stream.events.outbound_event import OutboundEvent
from els_stream.queries.outbox import put
from els_stream.queries.outbox_rows import OutboxRow
from tests.support.unsent_events import unsent_events
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


@dataclass
class Key:
    """Stands for the tracker of an order key."""

    last_segment: OutboxPosition | None = None


# By database, which each test has its own of.
_KEYS: Final[defaultdict[str, defaultdict[str, Key]]] = defaultdict(lambda: defaultdict(Key))


def last_segment(engine: AsyncEngine, key: str) -> OutboxPosition | None:
    """Return the last segment with events of a key, of those that `put_rows` wrote."""
    return _KEYS[str(engine.url.database)][key].last_segment


def row(batch: str, sequence: int, topic: str = topics.SLOT_ASSIGNED, *, padding: int = 0) -> OutboxRow:
    value = json.dumps({"batch": batch, "sequence": sequence, "padding": "x" * padding}).encode()
    headers = (("ce_subject", batch.encode()), ("odd", b"\x00\xff"))
    event = OutboundEvent.with_headers(event_id(topic, batch, str(sequence)), topic, batch.encode(), value, headers)
    return OutboxRow(batch, sequence, event)


def batch_rows(batch: str, topic_order: Sequence[str] = TOPIC_ORDER) -> list[OutboxRow]:
    return [row(batch, sequence, topic) for sequence, topic in enumerate(topic_order, start=1)]


async def commit(engine: AsyncEngine, rows: Sequence[OutboxRow]) -> None:
    async with engine.begin() as conn:
        await put_rows(conn, rows)


async def put_rows(conn: AsyncConnection, rows: Sequence[OutboxRow]) -> None:
    """Write events behind those of their keys, as the handlers do, but without trackers.

    The caller writes events of one key one after the other.
    """
    keys = _KEYS[str(conn.engine.url.database)]
    await put(conn, rows, {row.order_key: keys[row.order_key] for row in rows})


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
        return len(await unsent_events(conn))


async def wait_until_empty(engine: AsyncEngine, seconds: float = 30) -> None:
    """Wait until the outbox has no rows."""

    async def empty() -> bool:
        return not await rows_left(engine)

    await until(empty, seconds=seconds)

"""The facts from which the events of all batches follow, for `els verify`. Reads whole tables."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from els_stream.queries import outbox_segments
from els_stream.queries.batch_detail import ExcessText, TakenSlot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_SLOTS = text("""
    SELECT batch_id, essay_id, text_storage_id, correlation_id, filled_at FROM essay_states
    WHERE text_storage_id IS NOT NULL
""")
_EXCESS = text("SELECT batch_id, text_storage_id, correlation_id, created_at FROM batch_excess_content")
_BATCHES = text("""
    SELECT batch_id, class_type, filled_count, failed_count, content_completed_at, completed_at, timed_out_at
    FROM batch_essay_trackers WHERE state NOT IN ('unregistered', 'purged')
""")
_DEAD_LETTERS = text("""
    SELECT created_at, coalesce(batch_id, ''), source_topic, source_partition, source_offset, source_timestamp
    FROM dead_letters WHERE replay_of IS NULL
""")
_OUTBOX = text("SELECT event_id FROM event_outbox")
_PURGED = text("SELECT batch_id FROM batch_essay_trackers WHERE state = 'purged'")


@dataclass(slots=True)
class TrackedBatch:
    """The facts of a batch; `slots` are only those that hold a content."""

    class_type: str | None = None
    filled: int = 0
    failed: int = 0
    content_completed_at: datetime | None = None
    completed_at: datetime | None = None
    timed_out_at: datetime | None = None
    slots: list[TakenSlot] = field(default_factory=list)
    excess: list[ExcessText] = field(default_factory=list)


class DeadLetterSource(NamedTuple):
    """The time of a dead letter and its record's position in Kafka; `batch_id` is empty if it is unknown."""

    created_at: datetime
    batch_id: str
    topic: str
    partition: int
    offset: int
    timestamp: int


async def read_batches(conn: AsyncConnection) -> Mapping[str, TrackedBatch]:
    """Return the facts by batch id. Purged batches have none; unregistered ones only if they have excess content."""
    batches: defaultdict[str, TrackedBatch] = defaultdict(TrackedBatch)
    for batch_id, *facts in await conn.execute(_BATCHES):
        batches[batch_id] = TrackedBatch(*facts)
    for batch_id, *slot in await conn.execute(_SLOTS):
        batches[batch_id].slots.append(TakenSlot(*slot))
    for batch_id, *content in await conn.execute(_EXCESS):
        batches[batch_id].excess.append(ExcessText(*content))
    return batches


async def read_dead_letter_sources(conn: AsyncConnection) -> list[DeadLetterSource]:
    """Return the sources of all dead letters but those of failed replays, which publish no event."""
    return [DeadLetterSource(*row) for row in await conn.execute(_DEAD_LETTERS)]


async def read_outbox_ids(conn: AsyncConnection) -> frozenset[UUID]:
    """Return the ids of the events that wait in the outbox."""
    exceptions = (await conn.execute(_OUTBOX)).scalars()
    segments = await outbox_segments.read_all(conn)
    return frozenset([*exceptions, *(row.event_id for stored in segments for row in stored.segment.rows)])


async def read_purged_ids(conn: AsyncConnection) -> frozenset[str]:
    """Return the ids of the batches that are tombstones."""
    return frozenset((await conn.execute(_PURGED)).scalars())

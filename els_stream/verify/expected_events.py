"""What the tables say must be in Kafka, event id by event id."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.domain.published_events import expected_events
from els_stream.events import topics
from els_stream.events.event_ids import dead_letter_subject, event_id
from els_stream.queries.batch_detail import ExcessText, TakenSlot

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_SLOTS = text("""
    SELECT batch_id, essay_id, text_storage_id, correlation_id, filled_at FROM essay_states
    WHERE text_storage_id IS NOT NULL
""")
_EXCESS = text("SELECT batch_id, text_storage_id, correlation_id, created_at FROM batch_excess_content")
_BATCHES = text("""
    SELECT batch_id, class_type, failed_count, filled_count, content_completed_at, completed_at, timed_out_at
    FROM batch_essay_trackers WHERE state NOT IN ('unregistered', 'purged')
""")
_DEAD_LETTERS = text("""
    SELECT coalesce(batch_id, '') AS batch_id, source_topic, source_partition, source_offset, source_timestamp
    FROM dead_letters WHERE replay_of IS NULL
""")
_OUTBOX = text("SELECT event_id FROM event_outbox")
_PURGED = text("SELECT batch_id FROM batch_essay_trackers WHERE state = 'purged'")


@dataclass(slots=True)
class TrackedBatch:
    """The facts of a batch; only those of the slots that hold a content."""

    class_type: str | None = None
    filled: int = 0
    failed: int = 0
    content_completed_at: datetime | None = None
    completed_at: datetime | None = None
    timed_out_at: datetime | None = None
    slots: list[TakenSlot] = field(default_factory=list)
    excess: list[ExcessText] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class EventDescription:
    """An event that the tables expect, in words for a person."""

    topic: str
    batch_id: str
    subject: str

    def __str__(self) -> str:
        return f"{self.topic} of batch {self.batch_id!r} {self.subject}".rstrip()


@dataclass(frozen=True, slots=True)
class ExpectedEvents:
    """By event id; `waiting` are the ids of those that are still in the outbox."""

    events: dict[UUID, EventDescription]
    waiting: frozenset[UUID]
    purged: frozenset[str]


async def read_snapshot(conn: AsyncConnection) -> ExpectedEvents:
    """Read the expected events. Call it within one REPEATABLE READ transaction."""
    events = {
        event_id(event.topic, event.batch_id, event.subject): event
        for event in [*await _of_batches(conn), *await _of_dead_letters(conn)]
    }
    waiting = frozenset(row.event_id for row in await conn.execute(_OUTBOX))
    return ExpectedEvents(events, waiting, frozenset(row.batch_id for row in await conn.execute(_PURGED)))


async def _of_batches(conn: AsyncConnection) -> list[EventDescription]:
    batches: defaultdict[str, TrackedBatch] = defaultdict(TrackedBatch)
    for row in await conn.execute(_BATCHES):
        batches[row.batch_id] = TrackedBatch(
            row.class_type,
            row.filled_count,
            row.failed_count,
            row.content_completed_at,
            row.completed_at,
            row.timed_out_at,
        )
    for row in await conn.execute(_SLOTS):
        batches[row.batch_id].slots.append(
            TakenSlot(row.essay_id, row.text_storage_id, row.correlation_id, row.filled_at)
        )
    for row in await conn.execute(_EXCESS):
        batches[row.batch_id].excess.append(ExcessText(row.text_storage_id, row.correlation_id, row.created_at))
    return [
        EventDescription(event.topic, batch_id, event.subject)
        for batch_id, batch in batches.items()
        for event in expected_events(batch)
    ]


async def _of_dead_letters(conn: AsyncConnection) -> list[EventDescription]:
    return [
        EventDescription(
            topics.DEAD_LETTER,
            row.batch_id,
            dead_letter_subject(row.source_topic, row.source_partition, row.source_offset, row.source_timestamp),
        )
        for row in await conn.execute(_DEAD_LETTERS)
    ]

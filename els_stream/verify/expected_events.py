"""What the tables say must be in Kafka, event id by event id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.events import topics
from els_stream.events.event_ids import dead_letter_subject, event_id, slot_subject

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

_ASSIGNED = text("""
    SELECT batch_id, essay_id, text_storage_id FROM essay_states WHERE text_storage_id IS NOT NULL
""")
_EXCESS = text("SELECT batch_id, text_storage_id FROM batch_excess_content")
_BATCHES = text("""
    SELECT batch_id, class_type, failed_count, filled_count,
           content_completed_at IS NOT NULL AS content_complete, completed_at IS NOT NULL AS completed,
           timed_out_at IS NOT NULL AS timed_out
    FROM batch_essay_trackers WHERE state NOT IN ('unregistered', 'purged')
""")
_DEAD_LETTERS = text("""
    SELECT coalesce(batch_id, '') AS batch_id, source_topic, source_partition, source_offset, source_timestamp
    FROM dead_letters WHERE replay_of IS NULL
""")
_OUTBOX = text("SELECT event_id FROM event_outbox")
_PURGED = text("SELECT batch_id FROM batch_essay_trackers WHERE state = 'purged'")


@dataclass(frozen=True, slots=True)
class ExpectedEvent:
    """An event that the tables say was told, in words for a person."""

    topic: str
    batch_id: str
    subject: str

    def __str__(self) -> str:
        return f"{self.topic} of batch {self.batch_id!r} {self.subject}".rstrip()


@dataclass(frozen=True, slots=True)
class ExpectedEvents:
    """`waiting` are those of `told` that still lie in the outbox."""

    told: dict[UUID, ExpectedEvent]
    waiting: frozenset[UUID]
    purged: frozenset[str]


async def read_snapshot(conn: AsyncConnection) -> ExpectedEvents:
    """Read within one REPEATABLE READ transaction of the caller."""
    told = {
        event_id(fact.topic, fact.batch_id, fact.subject): fact
        for fact in [*await _of_contents(conn), *await _of_batches(conn), *await _of_dead_letters(conn)]
    }
    waiting = frozenset(row.event_id for row in await conn.execute(_OUTBOX))
    return ExpectedEvents(told, waiting, frozenset(row.batch_id for row in await conn.execute(_PURGED)))


async def _of_contents(conn: AsyncConnection) -> list[ExpectedEvent]:
    assigned = [
        ExpectedEvent(topics.SLOT_ASSIGNED, row.batch_id, slot_subject(row.essay_id, row.text_storage_id))
        for row in await conn.execute(_ASSIGNED)
    ]
    return assigned + [
        ExpectedEvent(topics.EXCESS_CONTENT, row.batch_id, row.text_storage_id) for row in await conn.execute(_EXCESS)
    ]


async def _of_batches(conn: AsyncConnection) -> list[ExpectedEvent]:
    return [
        ExpectedEvent(topic, row.batch_id, "")
        for row in await conn.execute(_BATCHES)
        for topic, became_true in (
            (topics.VALIDATION_ERRORS, row.content_complete and row.failed_count > 0),
            (topics.PROVISIONING_COMPLETED, row.content_complete),
            (topics.ESSAYS_READY, row.completed and row.class_type == "REGULAR" and row.filled_count > 0),
            (topics.READINESS_TIMEOUT, row.timed_out),
        )
        if became_true
    ]


async def _of_dead_letters(conn: AsyncConnection) -> list[ExpectedEvent]:
    return [
        ExpectedEvent(
            topics.DEAD_LETTER,
            row.batch_id,
            dead_letter_subject(row.source_topic, row.source_partition, row.source_offset, row.source_timestamp),
        )
        for row in await conn.execute(_DEAD_LETTERS)
    ]

"""Everything stored of one batch: tracker, slots, excess, pending and unsent events, dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from els_stream.domain.batch import OutboxPosition
from els_stream.queries import outbox_segments

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

_TRACKER = text("""
    SELECT t.*, clock_timestamp() AS now
    FROM batch_essay_trackers t WHERE t.batch_id = :batch_id
""")
_PENDING = text("""
    SELECT kind, count(*) AS events, min(pending_since) AS since FROM batch_pending_events
    WHERE batch_id = :batch_id GROUP BY kind ORDER BY kind
""")
_OUTBOX = text("""
    SELECT sequence, topic, event_id, created_at, attempts, next_attempt_at, last_error FROM event_outbox
    WHERE order_key = :batch_id ORDER BY position
""")
_SLOTS = text("""
    SELECT essay_id, text_storage_id, correlation_id, coalesce(filled_at, failed_at) AS taken_at,
           filled_at IS NOT NULL AS filled
    FROM essay_states WHERE batch_id = :batch_id AND (filled_at IS NOT NULL OR failed_at IS NOT NULL)
    ORDER BY coalesce(filled_at, failed_at), essay_id
""")
_EXCESS = text("""
    SELECT text_storage_id, correlation_id, created_at FROM batch_excess_content
    WHERE batch_id = :batch_id ORDER BY created_at, text_storage_id
""")
_DEAD_LETTERS = text("""
    SELECT id, reason, message, source_topic, source_partition, source_offset, state, created_at FROM dead_letters
    WHERE batch_id = :batch_id ORDER BY id
""")


@dataclass(frozen=True, slots=True)
class PendingCount:
    """Pending events of one kind; `since` is the arrival of the oldest."""

    kind: str
    events: int
    since: datetime


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """An event of the outbox; `next_attempt_at` where it could not be sent as it is."""

    sequence: int
    topic: str
    event_id: UUID
    created_at: datetime
    attempts: int
    next_attempt_at: datetime | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class TakenSlot:
    """A slot that a content holds, or a failure (`text_storage_id` is None)."""

    essay_id: str
    text_storage_id: str | None
    correlation_id: UUID | None
    taken_at: datetime


@dataclass(frozen=True, slots=True)
class ExcessText:
    """A content that arrived when the batch was full."""

    text_storage_id: str
    correlation_id: UUID
    created_at: datetime


@dataclass(frozen=True, slots=True)
class BatchDeadLetter:
    """A dead letter of the batch; `place` is topic/partition/offset."""

    id: int
    reason: str
    message: str
    place: str
    state: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDetail:
    """Everything stored of one batch except names of files and students."""

    batch_id: str
    state: str
    class_type: str | None
    expected: int | None
    filled: int
    failed: int
    free: int
    pending: Sequence[PendingCount]
    conflicts: int
    created_at: datetime
    registered_at: datetime | None
    deadline_at: datetime | None
    content_completed_at: datetime | None
    associations_confirmed_at: datetime | None
    completed_at: datetime | None
    timed_out_at: datetime | None
    purged_at: datetime | None
    slots: Sequence[TakenSlot]
    excess: Sequence[ExcessText]
    waiting: Sequence[WaitingEvent]
    dead_letters: Sequence[BatchDeadLetter]
    read_at: datetime


async def read_batch_detail(conn: AsyncConnection, batch_id: str) -> BatchDetail | None:
    """Return a batch, or None if it has no tracker. To be called in a REPEATABLE READ transaction."""
    params = {"batch_id": batch_id}
    tracker = (await conn.execute(_TRACKER, params)).one_or_none()
    if tracker is None:
        return None
    return BatchDetail(
        batch_id=batch_id,
        state=tracker.state,
        class_type=tracker.class_type,
        expected=tracker.expected_count,
        filled=tracker.filled_count,
        failed=tracker.failed_count,
        free=tracker.free_count,
        conflicts=tracker.conflict_count,
        created_at=tracker.created_at,
        registered_at=tracker.registered_at,
        deadline_at=tracker.deadline_at,
        content_completed_at=tracker.content_completed_at,
        associations_confirmed_at=tracker.associations_confirmed_at,
        completed_at=tracker.completed_at,
        timed_out_at=tracker.timed_out_at,
        purged_at=tracker.purged_at,
        pending=[PendingCount(row.kind, row.events, row.since) for row in await conn.execute(_PENDING, params)],
        slots=[_slot(row) for row in await conn.execute(_SLOTS, params)],
        excess=[ExcessText(*row) for row in await conn.execute(_EXCESS, params)],
        waiting=await _read_waiting(conn, tracker),
        dead_letters=[_dead_letter(row) for row in await conn.execute(_DEAD_LETTERS, params)],
        read_at=tracker.now,
    )


async def _read_waiting(conn: AsyncConnection, tracker: Row[Any]) -> list[WaitingEvent]:
    """Return the unsent events of a batch in order: exceptions first, then those in the segments of its shard."""
    waiting = [WaitingEvent(*row) for row in await conn.execute(_OUTBOX, {"batch_id": tracker.batch_id})]
    if tracker.outbox_shard is None:
        return waiting
    last = OutboxPosition(tracker.outbox_shard, tracker.outbox_position)
    segments = await outbox_segments.read_up_to(conn, last)
    if not segments or segments[-1].segment.position != last.position:
        return waiting
    for stored in segments:
        waiting += [
            WaitingEvent(row.sequence, row.topic, row.event_id, stored.created_at, row.attempts, None, None)
            for row in stored.segment.rows
            if row.order_key == tracker.batch_id
        ]
    return waiting


def _slot(row: Row[Any]) -> TakenSlot:
    return TakenSlot(row.essay_id, row.text_storage_id if row.filled else None, row.correlation_id, row.taken_at)


def _dead_letter(row: Row[Any]) -> BatchDeadLetter:
    place = f"{row.source_topic}/{row.source_partition}/{row.source_offset}"
    return BatchDeadLetter(row.id, row.reason, row.message, place, row.state, row.created_at)

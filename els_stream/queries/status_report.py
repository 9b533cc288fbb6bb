"""The counts over all batches for `els status`. Reads whole tables: for people, not for timers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.queries import outbox_backlog, pending_events
from els_stream.queries.dead_letter_groups import read_groups
from els_stream.queries.unknown_codes import read_unknown_codes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.queries.dead_letter_groups import DeadLetterGroup
    from els_stream.queries.outbox_backlog import OutboxBacklog
    from els_stream.queries.unknown_codes import UnknownCode

_BATCHES = text("""
    SELECT class_type, state, count(*) AS batches, coalesce(sum(expected_count), 0) AS slots,
           sum(filled_count) AS filled, sum(failed_count) AS failed, sum(free_count) AS free,
           count(*) FILTER (WHERE timed_out_at IS NOT NULL) AS timed_out,
           count(*) FILTER (WHERE conflict_count > 0) AS conflicting
    FROM batch_essay_trackers GROUP BY class_type, state
    ORDER BY class_type NULLS LAST, array_position(
        ARRAY['unregistered', 'open', 'content_complete', 'completed', 'purged'], state)
""")
_DEAD_LETTERS = text("""
    SELECT reason, count(*) AS count, CAST(extract(epoch FROM now() - min(created_at)) AS float8) AS oldest_seconds
    FROM dead_letters WHERE state = 'open' GROUP BY reason ORDER BY reason
""")
_OFFSETS = text("""
    SELECT topic, partition, next_offset, updated_at, watermark_at FROM consumed_offsets
    WHERE consumer_group = :consumer_group ORDER BY topic, partition
""")


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """The batches of one class type (None while unregistered) and state, and their slots."""

    class_type: str | None
    state: str
    batches: int
    slots: int
    filled: int
    failed: int
    free: int
    timed_out: int
    conflicting: int


@dataclass(frozen=True, slots=True)
class CountWithAge:
    """The number of items of a kind or reason, and the age of the oldest."""

    name: str
    count: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class OffsetStatus:
    """The stored offset of a partition; `lag` in offsets is None if the broker was not asked or did not answer."""

    topic: str
    partition: int
    next_offset: int
    updated_at: datetime
    watermark_at: datetime | None
    lag: int | None = None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """All counts of `els status`."""

    batches: Sequence[BatchCounts]
    pending: Sequence[CountWithAge]
    outbox: OutboxBacklog
    dead_letters: Sequence[CountWithAge]
    contract_violations: Sequence[DeadLetterGroup]
    unknown_validation_codes: Sequence[UnknownCode]
    offsets: Sequence[OffsetStatus]


async def read_status_report(conn: AsyncConnection, consumer_group: str) -> StatusReport:
    """Return the counts; to be called in a REPEATABLE READ transaction."""
    return StatusReport(
        batches=[BatchCounts(*row) for row in await conn.execute(_BATCHES)],
        pending=[CountWithAge(*count) for count in await pending_events.count_by_kind(conn)],
        outbox=await outbox_backlog.read_backlog(conn),
        dead_letters=[CountWithAge(*row) for row in await conn.execute(_DEAD_LETTERS)],
        contract_violations=[group for group in await read_groups(conn) if group.is_violation],
        unknown_validation_codes=await read_unknown_codes(conn),
        offsets=[OffsetStatus(*row) for row in await conn.execute(_OFFSETS, {"consumer_group": consumer_group})],
    )

"""Statistics over all batches for the gauges, read at an interval by every worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.domain.batch import ClassType
from els_stream.domain.pending import PendingKind
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.queries import outbox_backlog, pending_events
from els_stream.queries.purge import LOCK_KEY

CLASS_TYPES: Final = tuple(class_type.value for class_type in ClassType)
PENDING_KINDS: Final = tuple(kind.value for kind in PendingKind)

# An index-only scan. Completed batches are not counted here: their number grows without bound.
ACTIVE: Final = text("""
    SELECT class_type, count(*) AS batches
    FROM batch_essay_trackers
    WHERE class_type = ANY(CAST(:class_types AS text[])) AND state IN ('open', 'content_complete')
    GROUP BY class_type
""")
COMPLETED: Final = text("""
    SELECT class_type, CAST(sum(completed) AS bigint) AS batches FROM batch_counts GROUP BY class_type
""")
# From the log and not from the tombstones, which are deleted one day.
PURGED: Final = text("""
    SELECT class_type, CAST(sum(batches) AS bigint) AS batches
    FROM purge_log
    WHERE class_type IS NOT NULL AND action <> 'erase_student'
    GROUP BY class_type
""")
DEAD_LETTERS: Final = text("""
    SELECT reason, count(*) AS count FROM dead_letters WHERE state = 'open' GROUP BY reason
""")
# The purge lock is an advisory lock with one bigint key, so it is visible from every process.
PURGE: Final = text("""
    SELECT EXISTS (
               SELECT FROM pg_locks
               WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND CAST(objid AS bigint) = :lock_key
                 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           ) AS running,
           last.batches, CAST(EXTRACT(EPOCH FROM last.started_at) AS float8) AS started_at,
           last.finished_at IS NOT NULL AS finished
    FROM (VALUES (1)) AS one
    LEFT JOIN LATERAL (
        SELECT batches, started_at, finished_at FROM purge_log
        WHERE action IN ('purge', 'purge_abandoned') ORDER BY id DESC LIMIT 1
    ) AS last ON true
""")


@dataclass(frozen=True, slots=True)
class PurgeStats:
    """The last purge, which may still run; `batches` and `started_at` (Unix time) are None before the first."""

    running: bool
    batches: int | None
    started_at: float | None
    finished: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts by class type, kind and reason contain all keys; the age of the oldest is 0 if there is none."""

    active: Mapping[str, int]
    completed: Mapping[str, int]
    purged: Mapping[str, int]
    dead_letters: Mapping[str, int]
    pending: Mapping[str, int]
    pending_oldest_seconds: float
    outbox_rows: int
    outbox_deferred: int
    outbox_oldest_seconds: float
    purge: PurgeStats


async def read_stats(conn: AsyncConnection) -> Stats:
    """Return current statistics; each is read in a statement and snapshot of its own."""
    active = await conn.execute(ACTIVE, {"class_types": CLASS_TYPES})
    completed = await conn.execute(COMPLETED)
    purged = await conn.execute(PURGED)
    pending = await pending_events.count_by_kind(conn)
    dead_letters = (await conn.execute(DEAD_LETTERS)).all()
    waiting = await outbox_backlog.read_backlog(conn)
    purge = (await conn.execute(PURGE, {"lock_key": LOCK_KEY})).one()
    return Stats(
        active=_by_class_type(active),
        completed=_by_class_type(completed),
        purged=_by_class_type(purged),
        dead_letters=dict.fromkeys(DeadLetterReason, 0) | {row.reason: row[1] for row in dead_letters},
        pending=dict.fromkeys(PENDING_KINDS, 0) | {row.kind: row.events for row in pending},
        pending_oldest_seconds=max((row.oldest_seconds for row in pending), default=0.0),
        outbox_rows=waiting.rows,
        outbox_deferred=waiting.deferred,
        outbox_oldest_seconds=max(0.0, waiting.oldest_seconds),
        purge=PurgeStats(*purge),
    )


def _by_class_type(rows: CursorResult[Any]) -> dict[str, int]:
    return dict.fromkeys(CLASS_TYPES, 0) | {row.class_type: row.batches for row in rows}

"""What the database says about all batches: the figures behind the gauges, read on an interval by every worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.queries import outbox_backlog
from els_stream.queries.purge import LOCK_KEY

CLASS_TYPES: Final = ("GUEST", "REGULAR")
PARKED_KINDS: Final = ("content_provisioned", "validation_failed", "associations_confirmed")

# Both columns are in one index, and no row is read. What completed is not counted here: there is no end to it.
ACTIVE: Final = text("""
    SELECT class_type, count(*) AS batches
    FROM batch_essay_trackers
    WHERE class_type = ANY(CAST(:class_types AS text[])) AND state IN ('open', 'content_complete')
    GROUP BY class_type
""")
COMPLETED: Final = text("""
    SELECT class_type, CAST(sum(completed) AS bigint) AS batches FROM batch_counts GROUP BY class_type
""")
# From the log and not from the tombstones, which go one day.
PURGED: Final = text("""
    SELECT class_type, CAST(sum(batches) AS bigint) AS batches
    FROM purge_log
    WHERE class_type IS NOT NULL AND action <> 'erase_student'
    GROUP BY class_type
""")
PARKED: Final = text("""
    SELECT kind, count(*) AS events, CAST(EXTRACT(EPOCH FROM now() - min(pending_since)) AS float8) AS oldest
    FROM batch_pending_events
    GROUP BY kind
""")
DEAD_LETTERS: Final = text("""
    SELECT reason, count(*) AS letters FROM dead_letters WHERE state = 'open' GROUP BY reason
""")
# Whoever purges holds the lock, in whatever process.
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
    """Of the last purge, which may be the one that is running; `batches` and `started_at` are None before the first."""

    running: bool
    batches: int | None
    started_at: float | None
    finished: bool


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts by class type, kind and reason have all their keys; where nothing waits, an age is 0."""

    active: Mapping[str, int]
    completed: Mapping[str, int]
    purged: Mapping[str, int]
    dead_letters: Mapping[str, int]
    parked: Mapping[str, int]
    parked_oldest_seconds: float
    outbox_rows: int
    outbox_held: int
    outbox_oldest_seconds: float
    purge: PurgeStats


async def read_figures(conn: AsyncConnection) -> Stats:
    active = await conn.execute(ACTIVE, {"class_types": CLASS_TYPES})
    completed = await conn.execute(COMPLETED)
    purged = await conn.execute(PURGED)
    parked = (await conn.execute(PARKED)).all()
    letters = (await conn.execute(DEAD_LETTERS)).all()
    waiting = await outbox_backlog.waiting(conn)
    purge = (await conn.execute(PURGE, {"lock_key": LOCK_KEY})).one()
    return Stats(
        active=_by_class_type(active),
        completed=_by_class_type(completed),
        purged=_by_class_type(purged),
        dead_letters=dict.fromkeys(DeadLetterReason, 0) | {row.reason: row.letters for row in letters},
        parked=dict.fromkeys(PARKED_KINDS, 0) | {row.kind: row.events for row in parked},
        parked_oldest_seconds=max((row.oldest for row in parked), default=0.0),
        outbox_rows=waiting.rows,
        outbox_held=waiting.held,
        outbox_oldest_seconds=max(0.0, waiting.oldest_seconds),
        purge=PurgeStats(*purge),
    )


def _by_class_type(rows: CursorResult[Any]) -> dict[str, int]:
    return dict.fromkeys(CLASS_TYPES, 0) | {row.class_type: row.batches for row in rows}

"""What the database says about all batches: the figures behind the gauges, read on an interval by every worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.contracts.reasons import DeadLetterReason

CLASS_TYPES: Final = ("GUEST", "REGULAR")
PARKED_KINDS: Final = ("content_provisioned", "validation_failed", "associations_confirmed")

# Every column is in the index on (class_type, state): no row is read.
BATCHES: Final = text("""
    SELECT class_type, state, count(*) AS batches
    FROM batch_essay_trackers
    WHERE class_type IS NOT NULL AND state <> 'purged'
    GROUP BY class_type, state
""")
# From the log and not from the tombstones, which go one day.
PURGED: Final = text("""
    SELECT class_type, CAST(sum(batches) AS bigint) AS batches
    FROM purge_log
    WHERE class_type IS NOT NULL AND action <> 'erase_student'
    GROUP BY class_type
""")
PARKED: Final = text("""
    SELECT kind, count(*) AS events, CAST(EXTRACT(EPOCH FROM now() - min(parked_at)) AS float8) AS oldest
    FROM batch_pending_events
    GROUP BY kind
""")
# The first row of each share is its oldest: 64 look-ups, where min(created_at) would read the whole outbox.
OUTBOX: Final = text("""
    SELECT (SELECT count(*) FROM event_outbox) AS waiting,
           (SELECT count(*) FROM event_outbox WHERE held_until IS NOT NULL) AS held,
           CAST(greatest(0, EXTRACT(EPOCH FROM now() - min(first.created_at))) AS float8) AS oldest
    FROM generate_series(0, 63) AS share
    CROSS JOIN LATERAL (
        SELECT created_at FROM event_outbox WHERE event_outbox.share = share.share ORDER BY position LIMIT 1
    ) AS first
""")
DEAD_LETTERS: Final = text("""
    SELECT reason, count(*) AS letters FROM dead_letters WHERE state = 'open' GROUP BY reason
""")


@dataclass(frozen=True, slots=True)
class Figures:
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


async def read_figures(conn: AsyncConnection) -> Figures:
    active = dict.fromkeys(CLASS_TYPES, 0)
    completed = dict.fromkeys(CLASS_TYPES, 0)
    for class_type, state, batches in await conn.execute(BATCHES):
        counts = completed if state == "completed" else active
        counts[class_type] += batches
    purged = dict.fromkeys(CLASS_TYPES, 0)
    purged.update({row.class_type: row.batches for row in await conn.execute(PURGED)})
    parked = (await conn.execute(PARKED)).all()
    letters = (await conn.execute(DEAD_LETTERS)).all()
    outbox = (await conn.execute(OUTBOX)).one()
    return Figures(
        active=active,
        completed=completed,
        purged=purged,
        dead_letters=dict.fromkeys(DeadLetterReason, 0) | {row.reason: row.letters for row in letters},
        parked=dict.fromkeys(PARKED_KINDS, 0) | {row.kind: row.events for row in parked},
        parked_oldest_seconds=max((row.oldest for row in parked), default=0.0),
        outbox_rows=outbox.waiting,
        outbox_held=outbox.held,
        outbox_oldest_seconds=outbox.oldest or 0.0,
    )

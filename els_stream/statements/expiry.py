"""What time does to batches: which deadlines have passed, and what was parked too long, as far as input was handled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.contracts.headers import decode_headers
from els_stream.contracts.records import RawRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

# A partition was handled past T if its last handled record is later than T, or if its owner had reached an end offset
# that was read after T. The least of all partitions counts; without a ledger row nothing is known, and nothing expires.
_HANDLED_UNTIL = text("""
    SELECT least(clock_timestamp(),
                 min(greatest(coalesce(to_timestamp(record_timestamp / 1000.0), '-infinity'),
                              coalesce(caught_up_at, '-infinity'))))
           AS handled_until, count(*) AS partitions
    FROM consumed_offsets
    WHERE consumer_group = :consumer_group AND topic = ANY(CAST(:topics AS text[]))
""")

_OVERDUE = text("""
    SELECT batch_id FROM batch_essay_trackers
    WHERE state = 'open' AND timed_out_at IS NULL AND deadline_at < :handled_until
    ORDER BY deadline_at LIMIT :limit
""")

_TIME_OUT = text("""
    UPDATE batch_essay_trackers
    SET timed_out_at = clock_timestamp()
    WHERE batch_id = ANY(CAST(:batch_ids AS text[]))
      AND state = 'open' AND timed_out_at IS NULL AND deadline_at < :handled_until
    RETURNING batch_id, CAST(extract(epoch FROM deadline_at - registered_at) AS bigint) AS seconds
""")

_FREE = text("""
    SELECT i.batch_id, f.essay_ids
    FROM unnest(CAST(:batch_ids AS text[])) AS i (batch_id)
    CROSS JOIN LATERAL (
        SELECT array_agg(e.essay_id) AS essay_ids FROM essay_states e
        WHERE e.batch_id = i.batch_id AND e.current_status = 'uploaded'
          AND e.text_storage_id IS NULL AND e.failed_at IS NULL
    ) f
""")

_FORGOTTEN = text("""
    SELECT DISTINCT batch_id FROM (
        SELECT batch_id FROM batch_pending_events
        WHERE parked_at < least(CAST(:handled_until AS timestamptz), clock_timestamp()) - CAST(:retention AS interval)
        ORDER BY parked_at LIMIT :limit
    ) oldest
""")

_TAKE_FORGOTTEN = text("""
    DELETE FROM batch_pending_events p
    USING batch_essay_trackers t
    WHERE p.batch_id = ANY(CAST(:batch_ids AS text[])) AND t.batch_id = p.batch_id AND t.state = 'unregistered'
      AND p.parked_at < least(CAST(:handled_until AS timestamptz), clock_timestamp()) - CAST(:retention AS interval)
    RETURNING p.batch_id, p.arrival, p.source_topic, p.source_partition, p.source_offset, p.source_timestamp, p.key,
              p.value, p.headers
""")

# The `unregistered` row goes with the last of what was parked beside it.
_REMOVE_EMPTY = text("""
    DELETE FROM batch_essay_trackers t
    WHERE t.batch_id = ANY(CAST(:batch_ids AS text[])) AND t.state = 'unregistered' AND t.parked_count = 0
""")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A parked record whose batch never registered in its time."""

    batch_id: str
    record: RawRecord


async def handled_until(conn: AsyncConnection, consumer_group: str, topics: Collection[str]) -> datetime | None:
    """The time up to which every known partition of these topics, named as on the broker, was handled."""
    names = {"consumer_group": consumer_group, "topics": list(topics)}
    row = (await conn.execute(_HANDLED_UNTIL, names)).one()
    until: datetime | None = row.handled_until
    return until if row.partitions else None


async def overdue(conn: AsyncConnection, until: datetime, limit: int) -> list[str]:
    """Open batches whose deadline lies before `until`, the most overdue first."""
    return list((await conn.execute(_OVERDUE, {"handled_until": until, "limit": limit})).scalars())


async def time_out(conn: AsyncConnection, batch_ids: Sequence[str], until: datetime) -> dict[str, int]:
    """Mark those of these locked batches that are still overdue; seconds from registration to deadline, by batch."""
    rows = await conn.execute(_TIME_OUT, {"batch_ids": list(batch_ids), "handled_until": until})
    return {row.batch_id: row.seconds for row in rows}


async def free_essays(conn: AsyncConnection, batch_ids: Collection[str]) -> dict[str, list[str]]:
    """The essay ids of the slots that are free, by batch."""
    rows = await conn.execute(_FREE, {"batch_ids": list(batch_ids)})
    return {row.batch_id: list(row.essay_ids or ()) for row in rows}


async def forgotten(conn: AsyncConnection, until: datetime, retention: timedelta, limit: int) -> list[str]:
    """Batches with events that were parked longer ago than `retention`, counted from what was handled."""
    found = await conn.execute(_FORGOTTEN, {"handled_until": until, "retention": retention, "limit": limit})
    return list(found.scalars())


async def take_forgotten(
    conn: AsyncConnection, batch_ids: Collection[str], until: datetime, retention: timedelta
) -> list[Forgotten]:
    """Take those events away, in order of arrival; their tracker rows are locked."""
    known = {"batch_ids": list(batch_ids), "handled_until": until, "retention": retention}
    rows = (await conn.execute(_TAKE_FORGOTTEN, known)).all()
    return [
        Forgotten(
            row.batch_id,
            RawRecord(
                row.source_topic,
                row.source_partition,
                row.source_offset,
                row.source_timestamp,
                row.key,
                row.value,
                decode_headers(row.headers),
            ),
        )
        for row in sorted(rows, key=lambda row: row.arrival)
    ]


async def remove_empty(conn: AsyncConnection, batch_ids: Collection[str]) -> None:
    """Remove `unregistered` rows beside which nothing is parked any more; they are locked."""
    await conn.execute(_REMOVE_EMPTY, {"batch_ids": list(batch_ids)})

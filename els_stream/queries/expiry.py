"""Batches whose deadline passed and expired pending events, judged only up to the watermark of the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.queries.arrays import record_from_row
from els_stream.queries.consumed_offsets import partition_arrays

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.records import RawRecord
    from els_stream.kafka.offsets import Partition

MAX_SLOTS_PER_STEP: Final = 10_000
MAX_EVENTS_PER_STEP: Final = 500
MAX_BYTES_PER_STEP: Final = 8 * 1024 * 1024

# The minimum over all partitions counts; without a watermark of each there is none and nothing expires. One that lies
# ahead was stored while the database's clock was wrong, so it says nothing.
_WATERMARK = text("""
    SELECT nullif(min(coalesce(c.watermark_at, '-infinity')), '-infinity') AS watermark
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])) AS p (topic, partition)
    LEFT JOIN consumed_offsets c
        ON c.consumer_group = :consumer_group AND c.topic = p.topic AND c.partition = p.partition
           AND c.watermark_at <= clock_timestamp()
""")

# Also limited by slots: the events list all of them.
_OVERDUE = text("""
    SELECT batch_id FROM (
        SELECT batch_id, sum(expected_count) OVER (ORDER BY deadline_at, batch_id) - expected_count AS slots_before
        FROM (
            SELECT batch_id, deadline_at, expected_count FROM batch_essay_trackers
            WHERE state = 'open' AND timed_out_at IS NULL
              AND deadline_at < least(CAST(:watermark AS timestamptz), clock_timestamp())
            ORDER BY deadline_at LIMIT :limit
        ) first
    ) counted
    WHERE slots_before < :slots
""")

_TIME_OUT = text("""
    UPDATE batch_essay_trackers
    SET timed_out_at = clock_timestamp()
    WHERE batch_id = ANY(CAST(:batch_ids AS text[]))
      AND state = 'open' AND timed_out_at IS NULL
      AND deadline_at < least(CAST(:watermark AS timestamptz), clock_timestamp())
    RETURNING batch_id, CAST(extract(epoch FROM deadline_at - registered_at) AS bigint) AS seconds
""")

_FREE_ESSAYS = text("""
    SELECT i.batch_id, f.essay_ids
    FROM unnest(CAST(:batch_ids AS text[])) AS i (batch_id)
    CROSS JOIN LATERAL (
        SELECT array_agg(e.essay_id) AS essay_ids FROM essay_states e
        WHERE e.batch_id = i.batch_id AND e.current_status = 'uploaded'
          AND e.text_storage_id IS NULL AND e.failed_at IS NULL
    ) f
""")

_BATCHES_WITH_EXPIRED = text("""
    SELECT DISTINCT batch_id FROM (
        SELECT batch_id FROM batch_pending_events
        WHERE pending_since < least(CAST(:watermark AS timestamptz), clock_timestamp()) - CAST(:retention AS interval)
        ORDER BY pending_since LIMIT :limit
    ) oldest
""")

# Oldest first, so the younger events of a batch are left; sizes are added up before any value is read.
_TAKE_EXPIRED = text("""
    WITH old AS (
        SELECT batch_id, kind, subject, sum(size) OVER (ORDER BY batch_id, arrival) - size AS bytes_before
        FROM (
            SELECT p.batch_id, p.kind, p.subject, p.arrival, octet_length(p.value) AS size
            FROM batch_pending_events p
            JOIN batch_essay_trackers t ON t.batch_id = p.batch_id AND t.state = 'unregistered'
            WHERE p.batch_id = ANY(CAST(:batch_ids AS text[]))
              AND p.pending_since
                  < least(CAST(:watermark AS timestamptz), clock_timestamp()) - CAST(:retention AS interval)
            ORDER BY p.batch_id, p.arrival LIMIT :limit
        ) first
    )
    DELETE FROM batch_pending_events p
    USING old
    WHERE old.bytes_before < :bytes
      AND p.batch_id = old.batch_id AND p.kind = old.kind AND p.subject = old.subject
    RETURNING p.batch_id, p.arrival, p.source_topic, p.source_partition, p.source_offset, p.source_timestamp, p.key,
              p.value, p.headers
""")

# An `unregistered` row without pending events has no purpose any more.
_DELETE_EMPTY = text("""
    DELETE FROM batch_essay_trackers t
    WHERE t.batch_id = ANY(CAST(:batch_ids AS text[])) AND t.state = 'unregistered' AND t.pending_count = 0
""")


@dataclass(frozen=True, slots=True)
class ExpiredPending:
    """A pending event whose batch did not register in time."""

    batch_id: str
    record: RawRecord


async def watermark(conn: AsyncConnection, consumer_group: str, partitions: Collection[Partition]) -> datetime | None:
    """Return the time up to which all of these partitions were processed; None if it is unknown for one of them.

    `partitions` (at least one) must be all that the broker has of the topics in question.
    """
    params = {"consumer_group": consumer_group, **partition_arrays(partitions)}
    found: datetime | None = (await conn.execute(_WATERMARK, params)).scalar_one()
    return found


async def overdue(conn: AsyncConnection, watermark: datetime, limit: int) -> list[str]:
    """Return open batches whose deadline is before the watermark, the most overdue first."""
    rows = await conn.execute(_OVERDUE, {"watermark": watermark, "limit": limit, "slots": MAX_SLOTS_PER_STEP})
    return list(rows.scalars())


async def time_out(conn: AsyncConnection, batch_ids: Sequence[str], watermark: datetime) -> dict[str, int]:
    """Time out those of these locked batches that are still overdue.

    Returns the seconds from registration to deadline by batch.
    """
    rows = await conn.execute(_TIME_OUT, {"batch_ids": list(batch_ids), "watermark": watermark})
    return {row.batch_id: row.seconds for row in rows}


async def free_essays(conn: AsyncConnection, batch_ids: Collection[str]) -> dict[str, list[str]]:
    """Return the essay ids of the free slots, by batch."""
    rows = await conn.execute(_FREE_ESSAYS, {"batch_ids": list(batch_ids)})
    return {row.batch_id: list(row.essay_ids or ()) for row in rows}


async def batches_with_expired(
    conn: AsyncConnection, watermark: datetime, retention: timedelta, limit: int
) -> list[str]:
    """Return batches with pending events that arrived more than `retention` before the watermark."""
    params = {"watermark": watermark, "retention": retention, "limit": limit}
    return list((await conn.execute(_BATCHES_WITH_EXPIRED, params)).scalars())


async def take_expired(
    conn: AsyncConnection, batch_ids: Collection[str], watermark: datetime, retention: timedelta
) -> list[ExpiredPending]:
    """Delete and return expired pending events in order of arrival: at most 500 events or 8 MiB.

    The caller has locked the tracker rows of these batches.
    """
    params = {
        "batch_ids": list(batch_ids),
        "watermark": watermark,
        "retention": retention,
        "limit": MAX_EVENTS_PER_STEP,
        "bytes": MAX_BYTES_PER_STEP,
    }
    rows = (await conn.execute(_TAKE_EXPIRED, params)).all()
    return [ExpiredPending(row.batch_id, record_from_row(row)) for row in sorted(rows, key=lambda row: row.arrival)]


async def delete_empty(conn: AsyncConnection, batch_ids: Collection[str]) -> None:
    """Delete those of these locked tracker rows that are `unregistered` and have no pending events."""
    await conn.execute(_DELETE_EMPTY, {"batch_ids": list(batch_ids)})

"""What time does to batches: which deadlines have passed, and what was parked too long, as far as input was handled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.events.headers import decode_headers
from els_stream.events.records import RawRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.kafka.offsets import Partition

SLOTS_AT_ONCE: Final = 10_000
EVENTS_AT_ONCE: Final = 500
BYTES_AT_ONCE: Final = 8 * 1024 * 1024

# A partition was handled past T if its last handled record is later than T, or if its owner had reached an end offset
# that was read after T. The least of all partitions counts; of one without a ledger row nothing is known, so nothing
# expires. A record was not written after it was handled, whatever its producer's clock says.
_HANDLED_UNTIL = text("""
    SELECT nullif(min(coalesce(greatest(h.written_by, c.watermark_at), '-infinity')), '-infinity') AS handled_until
    FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[])) AS p (topic, partition)
    LEFT JOIN consumed_offsets c
        ON c.consumer_group = :consumer_group AND c.topic = p.topic AND c.partition = p.partition
    CROSS JOIN LATERAL (
        SELECT CASE WHEN c.record_timestamp BETWEEN 0 AND extract(epoch FROM c.updated_at) * 1000
                    THEN to_timestamp(c.record_timestamp / 1000.0)
                    WHEN c.record_timestamp > 0 THEN c.updated_at END AS written_by
    ) h
""")

# Bounded in slots too: the events list them all.
_OVERDUE = text("""
    SELECT batch_id FROM (
        SELECT batch_id, sum(expected_count) OVER (ORDER BY deadline_at, batch_id) - expected_count AS slots_before
        FROM (
            SELECT batch_id, deadline_at, expected_count FROM batch_essay_trackers
            WHERE state = 'open' AND timed_out_at IS NULL
              AND deadline_at < least(CAST(:handled_until AS timestamptz), clock_timestamp())
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
      AND deadline_at < least(CAST(:handled_until AS timestamptz), clock_timestamp())
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
        WHERE pending_since
              < least(CAST(:handled_until AS timestamptz), clock_timestamp()) - CAST(:retention AS interval)
        ORDER BY pending_since LIMIT :limit
    ) oldest
""")

# In order of arrival, so what is left of a batch is the younger part; the sizes are added up before values are read.
_TAKE_FORGOTTEN = text("""
    WITH old AS (
        SELECT batch_id, kind, subject, sum(size) OVER (ORDER BY batch_id, arrival) - size AS bytes_before
        FROM (
            SELECT p.batch_id, p.kind, p.subject, p.arrival, octet_length(p.value) AS size
            FROM batch_pending_events p
            JOIN batch_essay_trackers t ON t.batch_id = p.batch_id AND t.state = 'unregistered'
            WHERE p.batch_id = ANY(CAST(:batch_ids AS text[]))
              AND p.pending_since
                  < least(CAST(:handled_until AS timestamptz), clock_timestamp()) - CAST(:retention AS interval)
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

# The `unregistered` row goes with the last of what was parked beside it.
_REMOVE_EMPTY = text("""
    DELETE FROM batch_essay_trackers t
    WHERE t.batch_id = ANY(CAST(:batch_ids AS text[])) AND t.state = 'unregistered' AND t.pending_count = 0
""")


@dataclass(frozen=True, slots=True)
class ExpiredPending:
    """A parked record whose batch never registered in its time."""

    batch_id: str
    record: RawRecord


async def handled_until(
    conn: AsyncConnection, consumer_group: str, partitions: Collection[Partition]
) -> datetime | None:
    """The time up to which all of these partitions were handled; None while that is not known of each.

    `partitions` are all that the broker has of the topics in question, at least one.
    """
    known = {
        "consumer_group": consumer_group,
        "topics": [tp.topic for tp in partitions],
        "partitions": [tp.partition for tp in partitions],
    }
    until: datetime | None = (await conn.execute(_HANDLED_UNTIL, known)).scalar_one()
    return until


async def overdue(conn: AsyncConnection, until: datetime, limit: int) -> list[str]:
    """Open batches whose deadline lies before `until`, the most overdue first."""
    found = await conn.execute(_OVERDUE, {"handled_until": until, "limit": limit, "slots": SLOTS_AT_ONCE})
    return list(found.scalars())


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
) -> list[ExpiredPending]:
    """Take those events away, in order of arrival, a bounded number; their tracker rows are locked."""
    known = {
        "batch_ids": list(batch_ids),
        "handled_until": until,
        "retention": retention,
        "limit": EVENTS_AT_ONCE,
        "bytes": BYTES_AT_ONCE,
    }
    rows = (await conn.execute(_TAKE_FORGOTTEN, known)).all()
    return [
        ExpiredPending(
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

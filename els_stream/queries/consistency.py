"""The counters of trackers beside the counts of their rows: for a chunk of all batches, or for locked batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.domain.batch import BatchState
from els_stream.domain.consistency import BatchConsistency, SlotCounts

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

# Free slots are those of the batch's own slot table. Slots are counted for active batches only; of a registered batch
# there must be no pending events, so the count stops at the first.
_CHECK: Final = """
    WITH checked AS ({trackers})
    SELECT t.batch_id, t.state, t.expected_count, t.free_count, t.filled_count, t.failed_count, t.pending_count,
           (SELECT count(*) FROM (
               SELECT FROM batch_pending_events p WHERE p.batch_id = t.batch_id
               LIMIT CASE WHEN t.state = 'unregistered' THEN NULL ELSE 1 END) p) AS pending,
           coalesce(s.free, 0) AS free, coalesce(s.filled, 0) AS filled, coalesce(s.failed, 0) AS failed
    FROM checked t
    LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE e.text_storage_id IS NOT NULL) AS filled,
               count(*) FILTER (WHERE e.failed_at IS NOT NULL) AS failed,
               CASE WHEN t.inventory = 'essay_states'
                    THEN count(*) FILTER (WHERE e.current_status = 'uploaded' AND e.text_storage_id IS NULL
                                                AND e.failed_at IS NULL)
                    ELSE (SELECT count(*) FROM slot_assignments a
                          WHERE a.batch_id = t.batch_id AND a.status = 'available') END AS free
        FROM essay_states e WHERE e.batch_id = t.batch_id
    ) s ON t.state IN ('open', 'content_complete')
    ORDER BY t.batch_id
"""
_NEXT_CHUNK = text(
    _CHECK.format(trackers="SELECT * FROM batch_essay_trackers WHERE batch_id > :after ORDER BY batch_id LIMIT :limit")
)
_FOR_BATCHES = text(
    _CHECK.format(trackers="SELECT * FROM batch_essay_trackers WHERE batch_id = ANY(CAST(:batch_ids AS text[]))")
)


async def next_chunk(conn: AsyncConnection, after: str, limit: int) -> list[BatchConsistency]:
    """Check the next `limit` trackers whose batch id is greater than `after`, in one snapshot; locks nothing."""
    return await _check(conn, _NEXT_CHUNK, {"after": after, "limit": limit})


async def for_batches(conn: AsyncConnection, batch_ids: Collection[str]) -> list[BatchConsistency]:
    """Check the trackers of these batches, which the caller has locked."""
    return await _check(conn, _FOR_BATCHES, {"batch_ids": list(batch_ids)})


async def _check(conn: AsyncConnection, query: TextClause, params: dict[str, object]) -> list[BatchConsistency]:
    return [
        BatchConsistency(
            row.batch_id,
            BatchState(row.state),
            row.expected_count or 0,
            SlotCounts(row.free_count, row.filled_count, row.failed_count),
            SlotCounts(row.free, row.filled, row.failed),
            row.pending_count,
            row.pending,
        )
        for row in await conn.execute(query, params)
    ]

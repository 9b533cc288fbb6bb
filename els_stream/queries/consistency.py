"""Trackers beside what their rows say: the same look over a stretch of all of them, and at those that are locked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.domain.batch import BatchState

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

# The free slots are those of the batch's own inventory. Slots are counted while a batch is active only, and parked
# rows of a registered one not beyond the first: there must be none.
_LOOK: Final = """
    WITH looked_at AS ({trackers})
    SELECT t.batch_id, t.state, t.expected_count, t.free_count, t.filled_count, t.failed_count, t.pending_count,
           (SELECT count(*) FROM (
               SELECT FROM batch_pending_events p WHERE p.batch_id = t.batch_id
               LIMIT CASE WHEN t.state = 'unregistered' THEN NULL ELSE 1 END) p) AS parked,
           coalesce(s.free, 0) AS free, coalesce(s.filled, 0) AS filled, coalesce(s.failed, 0) AS failed
    FROM looked_at t
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
_STRETCH = text(
    _LOOK.format(trackers="SELECT * FROM batch_essay_trackers WHERE batch_id > :after ORDER BY batch_id LIMIT :limit")
)
_THESE = text(
    _LOOK.format(trackers="SELECT * FROM batch_essay_trackers WHERE batch_id = ANY(CAST(:batch_ids AS text[]))")
)


@dataclass(frozen=True, slots=True)
class SlotCounts:
    free: int
    filled: int
    failed: int

    @property
    def total(self) -> int:
        return self.free + self.filled + self.failed


@dataclass(frozen=True, slots=True)
class BatchConsistency:
    """A tracker's counters, and its rows counted; `parked` of a registered batch is 0 or 1."""

    batch_id: str
    state: BatchState
    expected: int
    counted: SlotCounts
    rows: SlotCounts
    parked_counted: int
    parked: int

    @property
    def active(self) -> bool:
        return self.state in {BatchState.OPEN, BatchState.CONTENT_COMPLETE}

    @property
    def miscounted(self) -> bool:
        return self.active and self.counted != self.rows

    @property
    def recountable(self) -> bool:
        """Whether the rows make a whole batch, and nothing that was told would become untrue."""
        return self.rows.total == self.expected and (self.state is BatchState.OPEN or self.rows.free == 0)

    @property
    def ill(self) -> bool:
        if self.state is BatchState.UNREGISTERED:
            return self.parked_counted != self.parked or self.parked == 0
        return self.parked > 0 or self.miscounted


async def stretch(conn: AsyncConnection, after: str, limit: int) -> list[BatchConsistency]:
    """The next trackers by batch id, as of one snapshot. Nothing is locked."""
    return await _looks(conn, {"after": after, "limit": limit}, whole=False)


async def these(conn: AsyncConnection, batch_ids: Collection[str]) -> list[BatchConsistency]:
    """The trackers of these batches; the caller has them locked."""
    return await _looks(conn, {"batch_ids": list(batch_ids)}, whole=True)


async def _looks(conn: AsyncConnection, asked: dict[str, object], *, whole: bool) -> list[BatchConsistency]:
    rows = await conn.execute(_THESE if whole else _STRETCH, asked)
    return [
        BatchConsistency(
            row.batch_id,
            BatchState(row.state),
            row.expected_count or 0,
            SlotCounts(row.free_count, row.filled_count, row.failed_count),
            SlotCounts(row.free, row.filled, row.failed),
            row.pending_count,
            row.parked,
        )
        for row in rows
    ]

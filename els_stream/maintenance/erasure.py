"""Erasure on request: of one batch of any class and age, or of one student's associations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from els_stream.domain.purge_results import Erased, ErasureResult, NothingToErase, StillPublishing
from els_stream.queries import associations, purge, purge_log

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection


async def erase_batch(conn: AsyncConnection, batch_id: str, *, dry_run: bool) -> ErasureResult:
    """Remove everything stored under this batch id, in any state, and add an audit row without personal data.

    A registered batch leaves its tombstone, without the payloads of what came after its purge. A batch that never
    registered leaves nothing.
    """
    tracker = await purge.lock_one(conn, batch_id)
    class_type = None if tracker is None else tracker[1]
    if await purge.unpublished(conn, [batch_id]):
        return StillPublishing()
    counted = await purge.count_one(conn, batch_id)
    if not any(counted.rows.values()):
        return NothingToErase()
    if dry_run:
        return Erased(counted, class_type)
    removed = await purge.remove(conn, [batch_id])
    await _record(conn, "erase_batch", class_type, removed.batches, removed.rows)
    return Erased(removed, class_type)


async def erase_student(conn: AsyncConnection, student_id: str, batch_ids: Collection[str]) -> int:
    """Clear one student's associations in these batches and add an audit row without the student; return how many."""
    essays = await associations.clear_student(conn, student_id, batch_ids)
    await _record(conn, "erase_student", None, 0, {"associations": essays})
    return essays


async def _record(
    conn: AsyncConnection, action: str, class_type: str | None, batches: int, removed: dict[str, int]
) -> None:
    log_id = await purge_log.begin(conn, action, class_type)
    await purge_log.write(conn, log_id, batches, removed)
    await purge_log.finish(conn, log_id)

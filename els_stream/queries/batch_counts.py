"""`batch_counts`, the number of completed batches: triggers add a row per change (`tables.counts`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

# One statement, so that a reader sees either the changes or their sum. Fewer than :min_rows rows are left as they are.
_COMPACT: Final = text("""
    WITH changes AS (
        DELETE FROM batch_counts
        WHERE (SELECT count(*) FROM (SELECT FROM batch_counts LIMIT :min_rows) AS few) = :min_rows
        RETURNING class_type, completed
    )
    INSERT INTO batch_counts SELECT class_type, sum(completed) FROM changes GROUP BY class_type
""")
_MIN_ROWS: Final = 100


async def compact(conn: AsyncConnection) -> None:
    """Replace all rows by one per class type; changes of uncommitted transactions stay for the next time."""
    await conn.execute(_COMPACT, {"min_rows": _MIN_ROWS})

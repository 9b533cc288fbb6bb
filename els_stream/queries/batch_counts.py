"""The count of completed batches: triggers add a row for each change (`tables.counts`), and a timer folds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

# One statement, so that whoever reads meanwhile sees the changes or their sum. A few rows are left as they are.
_FOLD: Final = text("""
    WITH changes AS (
        DELETE FROM batch_counts
        WHERE (SELECT count(*) FROM (SELECT FROM batch_counts LIMIT :enough) AS few) = :enough
        RETURNING class_type, completed
    )
    INSERT INTO batch_counts SELECT class_type, sum(completed) FROM changes GROUP BY class_type
""")
_ENOUGH: Final = 100


async def fold(conn: AsyncConnection) -> None:
    """Put all changes into one row for each class type; those that are not committed yet stay for the next time."""
    await conn.execute(_FOLD, {"enough": _ENOUGH})

"""Pages of batches, newest first, filtered.

A page costs one index range per combination of class type and state, and never reads rows that the filters leave out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from els_stream.queries.ordered_pages import avoid_sorting
from els_stream.queries.stats import CLASS_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

REGISTERED_STATES: Final = ("open", "content_complete", "completed", "purged")
UNREGISTERED: Final = "unregistered"
BATCH_STATES: Final = (UNREGISTERED, *REGISTERED_STATES)
END_OF_TIME: Final = datetime(9999, 12, 31, tzinfo=UTC)

_BATCH_COLUMNS: Final = """
    b.batch_id, b.state, b.class_type, b.expected_count, b.filled_count, b.failed_count, b.free_count, b.pending_count,
    b.conflict_count, b.created_at, b.deadline_at, b.completed_at, b.timed_out_at
"""
# One upper bound: with two, PostgreSQL would start at one of them and scan to the other.
_PAGE: Final = """
    (b.created_at, b.batch_id)
        < (least(CAST(:before AS timestamptz), now() - CAST(:older_than AS interval)), CAST(:before_id AS text))
    AND b.created_at >= coalesce(now() - CAST(:younger_than AS interval), '-infinity')
    ORDER BY b.created_at DESC, b.batch_id DESC LIMIT :limit
"""
# The class type is NULL exactly while the batch is unregistered; these batches have an index of their own.
_BATCHES = """
    SELECT * FROM (
        SELECT page.* FROM unnest(CAST(:states AS text[])) AS s (state)
        CROSS JOIN unnest(CAST(:class_types AS text[])) AS c (class_type)
        CROSS JOIN LATERAL (
            SELECT {columns} FROM batch_essay_trackers b
            WHERE b.class_type = c.class_type AND b.state = s.state AND {page}
        ) page
        UNION ALL
        SELECT page.* FROM (
            SELECT {columns} FROM batch_essay_trackers b
            WHERE b.state = 'unregistered' AND CAST(:unregistered AS boolean) AND {page}
        ) page
    ) b
    ORDER BY b.created_at DESC, b.batch_id DESC LIMIT :limit
"""

_READ_BATCHES = text(_BATCHES.format(columns=_BATCH_COLUMNS, page=_PAGE))

# The operators and the order of the index, whatever the locale of the database is. The upper bound is inclusive: no id
# goes on with the last character of Unicode.
_PREFIX: Final = """
    SELECT {columns} FROM batch_essay_trackers b
    WHERE b.batch_id ~>=~ CAST(:prefix AS text) AND b.batch_id ~<=~ CAST(:last AS text)
    ORDER BY b.batch_id USING ~<~ LIMIT :limit
"""
_BY_PREFIX = text(_PREFIX.format(columns=_BATCH_COLUMNS))
_LAST_CHARACTER: Final = "\U0010ffff"

# File names may name a student: only the detail of their own batch shows them.
_FILES = text("""
    (SELECT e.essay_id AS subject, e.original_file_name, f.error_code
     FROM essay_states e
     LEFT JOIN batch_validation_failures f
        ON e.failed_at IS NOT NULL AND f.batch_id = e.batch_id AND f.file_upload_id = e.file_upload_id
     WHERE e.batch_id = :batch_id AND e.original_file_name IS NOT NULL)
    UNION ALL
    (SELECT x.text_storage_id, x.original_file_name, NULL FROM batch_excess_content x WHERE x.batch_id = :batch_id)
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFilter:
    """Selects batches; an absent field selects all. Ages count from the first event of a batch."""

    state: str | None = None
    class_type: str | None = None
    older_than: timedelta | None = None
    younger_than: timedelta | None = None


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """A batch in a list, without personal data."""

    batch_id: str
    state: str
    class_type: str | None
    expected: int | None
    filled: int
    failed: int
    free: int
    pending: int
    conflicts: int
    created_at: datetime
    deadline_at: datetime | None
    completed_at: datetime | None
    timed_out_at: datetime | None


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """The name of an uploaded file; `subject` is the essay id of its slot, or the text id of an excess content."""

    subject: str
    name: str
    error_code: str | None


async def newest_batches(
    conn: AsyncConnection, filters: BatchFilter, limit: int, before: tuple[datetime, str] | None = None
) -> list[BatchSummary]:
    """Return a page; `before` is (created_at, batch_id) of the last batch of the previous page (exclusive)."""
    created_at, batch_id = before or (END_OF_TIME, "")
    states = [state for state in REGISTERED_STATES if filters.state in {None, state}]
    params = {
        "states": states,
        "class_types": [kind for kind in CLASS_TYPES if filters.class_type in {None, kind}],
        "unregistered": filters.state in {None, UNREGISTERED} and filters.class_type is None,
        "younger_than": filters.younger_than,
        "older_than": filters.older_than,
        "before": created_at,
        "before_id": batch_id,
        "limit": limit,
    }
    await avoid_sorting(conn)
    return [BatchSummary(*row) for row in await conn.execute(_READ_BATCHES, params)]


async def batches_by_prefix(conn: AsyncConnection, prefix: str, limit: int) -> list[BatchSummary]:
    """Return batches in any state whose id begins with `prefix`, in the order of their ids by code points."""
    params = {"prefix": prefix, "last": prefix + _LAST_CHARACTER, "limit": limit}
    return [BatchSummary(*row) for row in await conn.execute(_BY_PREFIX, params)]


async def read_files(conn: AsyncConnection, batch_id: str) -> Sequence[UploadedFile]:
    """Return the file names and error codes of a batch's uploads."""
    return [UploadedFile(*row) for row in await conn.execute(_FILES, {"batch_id": batch_id})]

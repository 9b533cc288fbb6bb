"""Slots: which uploads hold them, and the lists that the events of complete batches contain."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from els_stream.domain.batch import Slot
from els_stream.queries.arrays import arrays
from els_stream.queries.packed_arrays import packed, text_with_packed_arrays

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.batch import Content

# One lateral index probe per upload and per text: no join whose order the planner could get wrong.
FROM_HOLDERS: Final = """
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:upload_ids AS text[]), CAST(:text_ids AS text[]))
         AS i (batch_id, upload_id, text_id)
    CROSS JOIN LATERAL (
        SELECT e.essay_id, e.text_storage_id, e.file_upload_id FROM essay_states e
        WHERE e.batch_id = i.batch_id AND e.file_upload_id = i.upload_id
        UNION ALL
        SELECT e.essay_id, e.text_storage_id, e.file_upload_id FROM essay_states e
        WHERE e.batch_id = i.batch_id AND e.text_storage_id = i.text_id
    ) h
"""
_HOLDERS = text_with_packed_arrays("SELECT i.batch_id, h.essay_id, h.text_storage_id, h.file_upload_id" + FROM_HOLDERS)

_REPLACE_FAILURE = text("""
    UPDATE essay_states e
    SET current_status = 'ready_for_processing', failed_at = NULL, filled_at = :now,
        text_storage_id = v.text_id, original_file_name = v.file_name, raw_file_storage_id = v.raw_id,
        file_size_bytes = v.size, content_md5_hash = v.md5, correlation_id = v.correlation_id,
        version = e.version + 1, updated_at = :now
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:essay_ids AS text[]), CAST(:text_ids AS text[]),
                CAST(:file_names AS text[]), CAST(:raw_ids AS text[]), CAST(:sizes AS bigint[]),
                CAST(:md5s AS text[]), CAST(:correlation_ids AS uuid[]))
         AS v (batch_id, essay_id, text_id, file_name, raw_id, size, md5, correlation_id)
    WHERE e.batch_id = v.batch_id AND e.essay_id = v.essay_id
""")

# Batches whose slots are in `essay_states` have no row here.
_REPLACE_FAILURE_ASSIGNMENT = text("""
    UPDATE slot_assignments a
    SET status = 'assigned', text_storage_id = v.text_id, assigned_at = :now
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:essay_ids AS text[]), CAST(:text_ids AS text[]))
         AS v (batch_id, essay_id, text_id)
    WHERE a.batch_id = v.batch_id AND a.essay_id = v.essay_id
""")

# The lateral aggregate reads one index range per batch. A join with the array would be planned from the statistics of a
# partial index, which may date from when it was empty.
_FILLED = text("""
    SELECT i.batch_id, f.essay_ids, f.text_ids
    FROM unnest(CAST(:batch_ids AS text[])) AS i (batch_id)
    CROSS JOIN LATERAL (
        SELECT array_agg(e.essay_id) AS essay_ids,
               array_agg(e.text_storage_id) AS text_ids
        FROM essay_states e
        WHERE e.batch_id = i.batch_id AND e.text_storage_id IS NOT NULL
    ) f
""")

_FAILED = text("""
    SELECT e.batch_id, e.essay_id, f.original_file_name, f.error_code, f.failed_at,
           CAST(f.error_detail AS text) AS error_detail
    FROM unnest(CAST(:batch_ids AS text[])) AS i (batch_id)
    CROSS JOIN LATERAL (
        SELECT * FROM essay_states s WHERE s.batch_id = i.batch_id AND s.failed_at IS NOT NULL LIMIT 100000
    ) e
    JOIN batch_validation_failures f ON f.batch_id = e.batch_id AND f.file_upload_id = e.file_upload_id
""")


class Upload(NamedTuple):
    """The ids of an upload; `text_id` is None for a failed one."""

    batch_id: str
    upload_id: str
    text_id: str | None


@dataclass(frozen=True, slots=True)
class SlotOfFailure:
    """A slot that a validation failure holds, with the fields of BatchValidationErrorsV1."""

    essay_id: str
    file_name: str
    error_code: str
    error_detail: str  # JSON, as in the failure event
    failed_at: datetime


def upload_arrays(uploads: Collection[Upload]) -> dict[str, Sequence[str | None]]:
    """Return the arrays `batch_ids`, `upload_ids` and `text_ids`."""
    return {
        "batch_ids": [batch_id for batch_id, _, _ in uploads],
        "upload_ids": [upload_id for _, upload_id, _ in uploads],
        "text_ids": [text_id for _, _, text_id in uploads],
    }


async def holders(conn: AsyncConnection, uploads: Collection[Upload]) -> Iterable[tuple[str, Slot]]:
    """Return each slot, with its batch id, that is held by one of these uploads or by the same text."""
    rows = await conn.execute(_HOLDERS, packed(upload_arrays(uploads)))
    found = {(row.batch_id, row.essay_id): row for row in rows}
    return [
        (batch_id, Slot(row.file_upload_id, row.text_storage_id, essay_id))
        for (batch_id, essay_id), row in found.items()
    ]


async def replace_failures(conn: AsyncConnection, slots: Sequence[tuple[str, Slot, Content]], now: datetime) -> None:
    """Put contents into slots, given with their batch ids, that failures of the same uploads hold."""
    params = arrays(
        slots,
        batch_ids=lambda slot: slot[0],
        essay_ids=lambda slot: slot[1].essay_id,
        text_ids=lambda slot: slot[2].event.text_storage_id,
    )
    await conn.execute(_REPLACE_FAILURE_ASSIGNMENT, {"now": now, **params})
    details = arrays(
        [content for _, _, content in slots],
        file_names=lambda c: c.event.original_file_name,
        raw_ids=lambda c: c.event.raw_file_storage_id,
        sizes=lambda c: c.event.file_size_bytes,
        md5s=lambda c: c.event.content_md5_hash,
        correlation_ids=lambda c: c.correlation_id,
    )
    await conn.execute(_REPLACE_FAILURE, {"now": now, **params, **details})


async def filled(conn: AsyncConnection, batch_ids: Collection[str]) -> dict[str, list[tuple[str, str]]]:
    """Return (essay id, text id) of every slot that holds a content, by batch, in no particular order."""
    rows = await conn.execute(_FILLED, {"batch_ids": list(batch_ids)})
    return {row.batch_id: list(zip(row.essay_ids or (), row.text_ids or (), strict=True)) for row in rows}


async def failed(conn: AsyncConnection, batch_ids: Collection[str]) -> dict[str, list[SlotOfFailure]]:
    """Return the failures that hold slots, by batch, in no particular order."""
    found: dict[str, list[SlotOfFailure]] = defaultdict(list)
    for row in await conn.execute(_FAILED, {"batch_ids": list(batch_ids)}):
        found[row.batch_id].append(
            SlotOfFailure(row.essay_id, row.original_file_name, row.error_code, row.error_detail, row.failed_at)
        )
    return found

"""Excess contents and failed uploads, stored so that their repeats are recognised."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import text

from els_stream.events.fields import ERROR_DETAIL
from els_stream.queries.arrays import arrays
from els_stream.queries.slots import Upload, upload_arrays

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.batch import Content, FailedUpload

_KNOWN_EXCESS = text("""
    SELECT x.batch_id, x.text_storage_id, x.file_upload_id
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:upload_ids AS text[]), CAST(:text_ids AS text[]))
         AS i (batch_id, upload_id, text_id)
    CROSS JOIN LATERAL (
        SELECT * FROM batch_excess_content e WHERE e.batch_id = i.batch_id AND e.text_storage_id = i.text_id
        UNION ALL
        SELECT * FROM batch_excess_content e WHERE e.batch_id = i.batch_id AND e.file_upload_id = i.upload_id
    ) x
""")

_KNOWN_FAILURES = text("""
    SELECT f.batch_id, f.file_upload_id
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:upload_ids AS text[])) AS i (batch_id, upload_id)
    CROSS JOIN LATERAL (
        SELECT * FROM batch_validation_failures e WHERE e.batch_id = i.batch_id AND e.file_upload_id = i.upload_id
    ) f
""")

_ADD_EXCESS = text("""
    INSERT INTO batch_excess_content
        (batch_id, text_storage_id, file_upload_id, original_file_name, correlation_id, created_at)
    SELECT i.*, CAST(:now AS timestamptz)
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:text_ids AS text[]), CAST(:upload_ids AS text[]),
                CAST(:file_names AS text[]), CAST(:correlation_ids AS uuid[])) AS i
""")

_ADD_FAILURES = text("""
    INSERT INTO batch_validation_failures
        (batch_id, file_upload_id, original_file_name, raw_file_storage_id, error_code, error_detail, file_size_bytes,
         correlation_id, failed_at, created_at)
    SELECT i.batch_id, i.upload_id, i.file_name, i.raw_id, i.error_code, CAST(i.error_detail AS jsonb), i.size,
           i.correlation_id, i.failed_at, :now
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:upload_ids AS text[]), CAST(:file_names AS text[]),
                CAST(:raw_ids AS text[]), CAST(:error_codes AS text[]), CAST(:error_details AS text[]),
                CAST(:sizes AS bigint[]), CAST(:correlation_ids AS uuid[]), CAST(:failed_at AS timestamptz[]))
         AS i (batch_id, upload_id, file_name, raw_id, error_code, error_detail, size, correlation_id, failed_at)
""")


class StoredExcess(NamedTuple):
    """The ids of an excess content."""

    batch_id: str
    text_id: str
    upload_id: str


async def known_excess(conn: AsyncConnection, uploads: Collection[Upload]) -> set[StoredExcess]:
    """Return the stored excess contents that have the upload id or the text id of one of these."""
    rows = await conn.execute(_KNOWN_EXCESS, upload_arrays(uploads))
    return {StoredExcess(row.batch_id, row.text_storage_id, row.file_upload_id) for row in rows}


async def known_failures(conn: AsyncConnection, uploads: Collection[Upload]) -> set[tuple[str, str]]:
    """Return (batch id, upload id) of those uploads whose failure is stored; ignores their text ids."""
    params = arrays(uploads, batch_ids=lambda upload: upload.batch_id, upload_ids=lambda upload: upload.upload_id)
    rows = await conn.execute(_KNOWN_FAILURES, params)
    return {(row.batch_id, row.file_upload_id) for row in rows}


async def add_excess(conn: AsyncConnection, contents: Sequence[tuple[str, Content]], now: datetime) -> None:
    """Store these contents, given with their batch ids, as excess."""
    params = {
        "batch_ids": [batch_id for batch_id, _ in contents],
        **arrays(
            [content for _, content in contents],
            text_ids=lambda c: c.event.text_storage_id,
            upload_ids=lambda c: c.event.file_upload_id,
            file_names=lambda c: c.event.original_file_name,
            correlation_ids=lambda c: c.correlation_id,
        ),
    }
    await conn.execute(_ADD_EXCESS, {"now": now, **params})


async def add_failures(conn: AsyncConnection, failures: Sequence[tuple[str, FailedUpload]], now: datetime) -> None:
    """Store these failures, given with their batch ids, whether they hold a slot or not."""
    params = {
        "batch_ids": [batch_id for batch_id, _ in failures],
        "correlation_ids": [failure.correlation_id for _, failure in failures],
        **arrays(
            [failure.event for _, failure in failures],
            upload_ids=lambda e: e.file_upload_id,
            file_names=lambda e: e.original_file_name,
            raw_ids=lambda e: e.raw_file_storage_id,
            error_codes=lambda e: e.validation_error_code,
            error_details=lambda e: ERROR_DETAIL.dump_json(e.validation_error_detail).decode(),
            sizes=lambda e: e.file_size_bytes,
            failed_at=lambda e: e.timestamp or now,
        ),
    }
    await conn.execute(_ADD_FAILURES, {"now": now, **params})

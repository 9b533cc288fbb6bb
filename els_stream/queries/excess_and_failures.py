"""Contents and failures beside the slots: what was excess, which uploads failed. Repeats are known by these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.events.fields import ERROR_DETAIL

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


async def known_excess(
    conn: AsyncConnection, uploads: Collection[tuple[str, str, str | None]]
) -> set[tuple[str, str, str]]:
    """(batch id, text id, upload id) of the excess contents that share an upload or a text with these.

    Given as (batch id, upload id, text id or None).
    """
    rows = await conn.execute(
        _KNOWN_EXCESS,
        {
            "batch_ids": [batch_id for batch_id, _, _ in uploads],
            "upload_ids": [upload_id for _, upload_id, _ in uploads],
            "text_ids": [text_id for _, _, text_id in uploads],
        },
    )
    return {(row.batch_id, row.text_storage_id, row.file_upload_id) for row in rows}


async def known_failures(conn: AsyncConnection, uploads: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those (batch id, upload id) of these whose failure is recorded."""
    rows = await conn.execute(
        _KNOWN_FAILURES, {"batch_ids": [b for b, _ in uploads], "upload_ids": [u for _, u in uploads]}
    )
    return {(row.batch_id, row.file_upload_id) for row in rows}


async def add_excess(conn: AsyncConnection, contents: Sequence[tuple[str, Content]], now: datetime) -> None:
    """Remember these contents, with their batch ids, as excess."""
    await conn.execute(
        _ADD_EXCESS,
        {
            "now": now,
            "batch_ids": [batch_id for batch_id, _ in contents],
            "text_ids": [c.event.text_storage_id for _, c in contents],
            "upload_ids": [c.event.file_upload_id for _, c in contents],
            "file_names": [c.event.original_file_name for _, c in contents],
            "correlation_ids": [c.correlation_id for _, c in contents],
        },
    )


async def add_failures(conn: AsyncConnection, failures: Sequence[tuple[str, FailedUpload]], now: datetime) -> None:
    """Record these failures, with their batch ids, whether they consumed a slot or not."""
    events = [failure.event for _, failure in failures]
    await conn.execute(
        _ADD_FAILURES,
        {
            "now": now,
            "batch_ids": [batch_id for batch_id, _ in failures],
            "upload_ids": [e.file_upload_id for e in events],
            "file_names": [e.original_file_name for e in events],
            "raw_ids": [e.raw_file_storage_id for e in events],
            "error_codes": [e.validation_error_code.value for e in events],
            "error_details": [ERROR_DETAIL.dump_json(e.validation_error_detail).decode() for e in events],
            "sizes": [e.file_size_bytes for e in events],
            "correlation_ids": [failure.correlation_id for _, failure in failures],
            "failed_at": [e.timestamp or now for e in events],
        },
    )

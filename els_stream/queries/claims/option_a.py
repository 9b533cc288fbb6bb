"""Option A: one statement finds the content, or else takes a row of `slot_assignments`, and upserts the essay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from els_stream.queries.claims.slot_claim import assign_essay_ids, claim_arrays, claim_statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.queries.claims.slot_claim import SlotClaim

# `reused` is part of the strategy: even a caller that had read nothing before would take no second slot.
_CLAIM: Final = """
    WITH given AS (
        SELECT i.* FROM unnest(CAST(:batch_ids AS text[]), CAST(:text_ids AS text[])) AS i (batch_id, text_id)
    ),
    reused AS (
        SELECT s.batch_id, s.essay_id, s.text_storage_id, s.file_upload_id
        FROM given g
        CROSS JOIN LATERAL (
            SELECT * FROM slot_assignments a WHERE a.batch_id = g.batch_id AND a.text_storage_id = g.text_id LIMIT 1
        ) s
    ),
    {wanted},
    {free},
    {taken},
    assigned AS (
        UPDATE slot_assignments a
        SET status = CASE WHEN t.text_id IS NULL THEN 'failed' ELSE 'assigned' END,
            text_storage_id = t.text_id, file_upload_id = t.upload_id, assigned_at = :now
        FROM taken t
        WHERE a.batch_id = t.batch_id AND a.essay_id = t.essay_id
    ),
    upserted AS (
        INSERT INTO essay_states AS e
            (batch_id, essay_id, current_status, text_storage_id, file_upload_id, original_file_name,
             raw_file_storage_id, file_size_bytes, content_md5_hash, correlation_id, filled_at, failed_at, updated_at)
        SELECT t.batch_id, t.essay_id,
               CASE WHEN t.text_id IS NULL THEN 'content_ingestion_failed' ELSE 'ready_for_processing' END,
               t.text_id, t.upload_id, t.file_name, t.raw_id, t.size, t.md5, t.correlation_id,
               CASE WHEN t.text_id IS NOT NULL THEN CAST(:now AS timestamptz) END,
               CASE WHEN t.text_id IS NULL THEN CAST(:now AS timestamptz) END, :now
        FROM taken t
        ON CONFLICT (batch_id, essay_id) DO UPDATE
        SET current_status = excluded.current_status, text_storage_id = excluded.text_storage_id,
            file_upload_id = excluded.file_upload_id, original_file_name = excluded.original_file_name,
            raw_file_storage_id = excluded.raw_file_storage_id, file_size_bytes = excluded.file_size_bytes,
            content_md5_hash = excluded.content_md5_hash, correlation_id = excluded.correlation_id,
            filled_at = excluded.filled_at, failed_at = excluded.failed_at, version = e.version + 1,
            updated_at = excluded.updated_at
        RETURNING e.batch_id, e.file_upload_id, e.essay_id
    )
    SELECT batch_id, file_upload_id, essay_id, true AS created FROM upserted
    UNION ALL
    SELECT batch_id, file_upload_id, essay_id, false FROM reused
"""

_IS_FREE: Final = "s.status = 'available' AND NOT EXISTS (SELECT FROM reused)"
_SKIPPING: Final = claim_statement(_CLAIM, "slot_assignments", _IS_FREE, waiting=False)
_WAITING: Final = claim_statement(_CLAIM, "slot_assignments", _IS_FREE, waiting=True)


async def claim(conn: AsyncConnection, claims: Sequence[SlotClaim], now: datetime, *, waiting: bool) -> list[SlotClaim]:
    """Claim free rows and return the claims that found none; `waiting` waits for locked rows, up to lock_timeout."""
    rows = await conn.execute(_WAITING if waiting else _SKIPPING, {"now": now, **claim_arrays(claims)})
    return assign_essay_ids(claims, rows)

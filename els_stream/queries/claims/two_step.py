"""Two-step: one statement takes rows of `slot_assignments`, a second writes `essay_states`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from els_stream.queries.claims.slot_claim import assign_essay_ids, claim_arrays, claim_statement
from els_stream.queries.packed_arrays import text_with_packed_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.queries.claims.slot_claim import SlotClaim

_TAKE: Final = """
    WITH {wanted},
    {free},
    {taken}
    UPDATE slot_assignments a
    SET status = CASE WHEN t.text_id IS NULL THEN 'failed' ELSE 'assigned' END,
        text_storage_id = t.text_id, file_upload_id = t.upload_id, assigned_at = :now
    FROM taken t
    WHERE a.batch_id = t.batch_id AND a.essay_id = t.essay_id
    RETURNING a.batch_id, a.file_upload_id, a.essay_id, true AS created
"""

_IS_FREE: Final = "s.status = 'available'"
_SKIPPING: Final = claim_statement(_TAKE, "slot_assignments", _IS_FREE, waiting=False)
_WAITING: Final = claim_statement(_TAKE, "slot_assignments", _IS_FREE, waiting=True)

_WRITE: Final = text_with_packed_arrays("""
    UPDATE essay_states e
    SET current_status = CASE WHEN v.text_id IS NULL THEN 'content_ingestion_failed'
                              ELSE 'ready_for_processing' END,
        text_storage_id = v.text_id, file_upload_id = v.upload_id, original_file_name = v.file_name,
        raw_file_storage_id = v.raw_id, file_size_bytes = v.size, content_md5_hash = v.md5,
        correlation_id = v.correlation_id,
        filled_at = CASE WHEN v.text_id IS NOT NULL THEN CAST(:now AS timestamptz) END,
        failed_at = CASE WHEN v.text_id IS NULL THEN CAST(:now AS timestamptz) END,
        version = e.version + 1, updated_at = :now
    FROM unnest(CAST(:batch_ids AS text[]), CAST(:essay_ids AS text[]), CAST(:text_ids AS text[]),
                CAST(:upload_ids AS text[]), CAST(:file_names AS text[]), CAST(:raw_ids AS text[]),
                CAST(:sizes AS bigint[]), CAST(:md5s AS text[]), CAST(:correlation_ids AS uuid[]))
         AS v (batch_id, essay_id, text_id, upload_id, file_name, raw_id, size, md5, correlation_id)
    WHERE e.batch_id = v.batch_id AND e.essay_id = v.essay_id
""")


async def claim(conn: AsyncConnection, claims: Sequence[SlotClaim], now: datetime, *, waiting: bool) -> list[SlotClaim]:
    """Claim free rows and return the claims that found none; `waiting` waits for locked rows, up to lock_timeout."""
    rows = await conn.execute(_WAITING if waiting else _SKIPPING, {"now": now, **claim_arrays(claims)})
    missing = assign_essay_ids(claims, rows)
    if taken := [one for one in claims if one.slot.essay_id]:
        essay_ids = [one.slot.essay_id for one in taken]
        await conn.execute(_WRITE, {"now": now, **claim_arrays(taken, essay_ids=essay_ids)})
    return missing

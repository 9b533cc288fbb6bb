"""Option B, the hot path: `essay_states` itself is the slot table; one UPDATE over a SKIP LOCKED subquery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from els_stream.queries.claims.slot_claim import assign_essay_ids, claim_arrays, claim_statement

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.queries.claims.slot_claim import SlotClaim

_CLAIM: Final = """
    WITH {wanted},
    {free},
    {taken}
    UPDATE essay_states e
    SET current_status = CASE WHEN t.text_id IS NULL THEN 'content_ingestion_failed'
                              ELSE 'ready_for_processing' END,
        text_storage_id = t.text_id, file_upload_id = t.upload_id, original_file_name = t.file_name,
        raw_file_storage_id = t.raw_id, file_size_bytes = t.size, content_md5_hash = t.md5,
        correlation_id = t.correlation_id,
        filled_at = CASE WHEN t.text_id IS NOT NULL THEN CAST(:now AS timestamptz) END,
        failed_at = CASE WHEN t.text_id IS NULL THEN CAST(:now AS timestamptz) END,
        version = e.version + 1, updated_at = :now
    FROM taken t
    WHERE e.batch_id = t.batch_id AND e.essay_id = t.essay_id
    RETURNING e.batch_id, e.file_upload_id, e.essay_id, true AS created
"""

_IS_FREE: Final = "s.current_status = 'uploaded' AND s.text_storage_id IS NULL AND s.failed_at IS NULL"
_SKIPPING: Final = claim_statement(_CLAIM, "essay_states", _IS_FREE, waiting=False)
_WAITING: Final = claim_statement(_CLAIM, "essay_states", _IS_FREE, waiting=True)


async def claim(conn: AsyncConnection, claims: Sequence[SlotClaim], now: datetime, *, waiting: bool) -> list[SlotClaim]:
    """Claim free rows and return the claims that found none; `waiting` waits for locked rows, up to lock_timeout."""
    rows = await conn.execute(_WAITING if waiting else _SKIPPING, {"now": now, **claim_arrays(claims)})
    return assign_essay_ids(claims, rows)

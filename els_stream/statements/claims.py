"""The claim: free slots of any number of batches taken by contents and failures, in one statement.

Option B: `essay_states` itself is the inventory. The caller holds the tracker rows and knows how many slots are free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from els_stream.decisions.batch import Content
from els_stream.errors import InventoryMismatch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.decisions.batch import Slot

# `wanted` folds the input into arrays per batch, and the second lateral unnests them beside the free essay ids: a
# positional zip. A join by row number would be planned for one row, and be quadratic in a big micro-batch.
_CLAIM = """
    WITH wanted AS (
        SELECT i.batch_id, count(*) AS n, array_agg(i.ord ORDER BY i.ord) AS ords,
               array_agg(i.text_id ORDER BY i.ord) AS text_ids, array_agg(i.upload_id ORDER BY i.ord) AS upload_ids,
               array_agg(i.file_name ORDER BY i.ord) AS file_names, array_agg(i.raw_id ORDER BY i.ord) AS raw_ids,
               array_agg(i.size ORDER BY i.ord) AS sizes, array_agg(i.md5 ORDER BY i.ord) AS md5s,
               array_agg(i.correlation_id ORDER BY i.ord) AS correlation_ids
        FROM unnest(CAST(:batch_ids AS text[]), CAST(:text_ids AS text[]), CAST(:upload_ids AS text[]),
                    CAST(:file_names AS text[]), CAST(:raw_ids AS text[]), CAST(:sizes AS bigint[]),
                    CAST(:md5s AS text[]), CAST(:correlation_ids AS uuid[]))
             WITH ORDINALITY AS i (batch_id, text_id, upload_id, file_name, raw_id, size, md5, correlation_id, ord)
        GROUP BY i.batch_id
    ),
    taken AS (
        SELECT w.batch_id, z.*
        FROM wanted w
        CROSS JOIN LATERAL (
            SELECT array_agg(q.essay_id) AS essay_ids FROM (
                SELECT e.essay_id FROM essay_states e
                WHERE e.batch_id = w.batch_id AND e.current_status = 'uploaded'
                  AND e.text_storage_id IS NULL AND e.failed_at IS NULL
                ORDER BY e.essay_id
                LIMIT w.n
                FOR UPDATE {skip_locked}
            ) q
        ) f
        CROSS JOIN LATERAL unnest(f.essay_ids, w.ords, w.text_ids, w.upload_ids, w.file_names, w.raw_ids, w.sizes,
                                  w.md5s, w.correlation_ids)
            AS z (essay_id, ord, text_id, upload_id, file_name, raw_id, size, md5, correlation_id)
        WHERE z.essay_id IS NOT NULL
    )
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
    RETURNING t.ord, e.essay_id
"""

_CLAIM_UNLOCKED = text(_CLAIM.format(skip_locked="SKIP LOCKED"))
# Waits for rows that other code holds, as long as lock_timeout: locked is not full.
_CLAIM_WAITING = text(_CLAIM.format(skip_locked=""))


async def claim(conn: AsyncConnection, wanted: Sequence[tuple[str, Slot]], now: datetime) -> None:
    """Give each slot, with its batch id, the essay id of a free row, and write its holder there.

    The tracker says that as many are free. Rows that other code holds are waited for (a lock timeout is an error of
    the database, to be tried again). Raises InventoryMismatch where a row is then still missing: someone else took it.
    """
    missing = await _run(conn, wanted, now, waiting=False)
    if missing:
        missing = await _run(conn, missing, now, waiting=True)
    if missing:
        batch_id, _ = missing[0]
        msg = f"{len(missing)} slots are free by the counters and not by the rows, of batch {batch_id!r} and others"
        raise InventoryMismatch(msg)


async def _run(
    conn: AsyncConnection, wanted: Sequence[tuple[str, Slot]], now: datetime, *, waiting: bool
) -> list[tuple[str, Slot]]:
    statement = _CLAIM_WAITING if waiting else _CLAIM_UNLOCKED
    rows = await conn.execute(statement, {"now": now, **_columns(wanted)})
    essay_ids = {row.ord: row.essay_id for row in rows}
    missing = []
    for position, (batch_id, slot) in enumerate(wanted, start=1):
        if position in essay_ids:
            slot.essay_id = essay_ids[position]
        else:
            missing.append((batch_id, slot))
    return missing


def _columns(wanted: Sequence[tuple[str, Slot]]) -> Mapping[str, Sequence[str | int | UUID | None]]:
    holders = [slot.holder for _, slot in wanted if slot.holder is not None]
    events = [holder.event for holder in holders]
    return {
        "batch_ids": [batch_id for batch_id, _ in wanted],
        "text_ids": [slot.text_storage_id for _, slot in wanted],
        "upload_ids": [slot.file_upload_id for _, slot in wanted],
        "file_names": [event.original_file_name for event in events],
        "raw_ids": [event.raw_file_storage_id for event in events],
        "sizes": [event.file_size_bytes for event in events],
        "md5s": [holder.event.content_md5_hash if isinstance(holder, Content) else None for holder in holders],
        "correlation_ids": [holder.correlation_id for holder in holders],
    }

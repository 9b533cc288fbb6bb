"""The input arrays that the statements of every strategy take, and the reading of their result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from els_stream.domain.batch import Content
from els_stream.errors import InventoryMismatch
from els_stream.events.outbound_event import uuid_text
from els_stream.fast_dataclass import fast_dataclass
from els_stream.queries.packed_arrays import packed, text_with_packed_arrays

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import TextClause

    from els_stream.domain.batch import Batch, Slot

# A statement collects the free essays of each batch beside the ordinals of the claims on it, and so makes one array of
# essay ids in the order of its input; everything is zipped once. A join by row number would be planned for one row, and
# be quadratic in a large micro-batch.
WANTED: Final = """
    wanted AS (
        SELECT i.batch_id, count(*) AS n, array_agg(i.ord ORDER BY i.ord) AS ords
        FROM unnest(CAST(:batch_ids AS text[])) WITH ORDINALITY AS i (batch_id, ord)
        GROUP BY i.batch_id
    )
"""
FREE: Final = """
    free AS (
        SELECT w.ords, f.essay_ids
        FROM wanted w
        CROSS JOIN LATERAL (
            SELECT array_agg(q.essay_id) AS essay_ids FROM (
                SELECT s.essay_id FROM {table} s
                WHERE s.batch_id = w.batch_id AND {is_free}
                ORDER BY s.essay_id
                LIMIT w.n
                FOR UPDATE {skip_locked}
            ) q
        ) f
    )
"""
TAKEN: Final = """
    taken AS (
        SELECT z.*
        FROM (
            SELECT array_agg(z.essay_id ORDER BY z.ord) AS essay_ids
            FROM free f CROSS JOIN LATERAL unnest(f.essay_ids, f.ords) AS z (essay_id, ord)
        ) f
        CROSS JOIN LATERAL unnest(f.essay_ids, CAST(:batch_ids AS text[]), CAST(:text_ids AS text[]),
                                  CAST(:upload_ids AS text[]), CAST(:file_names AS text[]), CAST(:raw_ids AS text[]),
                                  CAST(:sizes AS bigint[]), CAST(:md5s AS text[]), CAST(:correlation_ids AS uuid[]))
            AS z (essay_id, batch_id, text_id, upload_id, file_name, raw_id, size, md5, correlation_id)
        WHERE z.essay_id IS NOT NULL
    )
"""


def claim_statement(sql: str, table: str, is_free: str, *, waiting: bool) -> TextClause:
    """Return the statement that `sql` makes of the parts {wanted}, {free} and {taken}.

    `is_free` is the condition on the rows `s` of `table`. Without `waiting`, locked rows are skipped.
    """
    free = FREE.format(table=table, is_free=is_free, skip_locked="" if waiting else "SKIP LOCKED")
    return text_with_packed_arrays(sql.format(wanted=WANTED, free=free, taken=TAKEN))


@fast_dataclass
class SlotClaim:
    """A slot to be taken by a content or a failure, in a batch whose counters say that one is free."""

    batch: Batch
    slot: Slot


def claim_arrays(claims: Sequence[SlotClaim], **others: Sequence[str]) -> dict[str, str]:
    """Return the arrays of batches, uploads and files, and others, packed."""
    slots = [one.slot for one in claims]
    holders = [slot.holder for slot in slots]
    events = [holder.event for holder in holders]
    return packed(
        {
            "batch_ids": [one.batch.batch_id for one in claims],
            "text_ids": [slot.text_storage_id for slot in slots],
            "upload_ids": [slot.file_upload_id for slot in slots],
            "file_names": [event.original_file_name for event in events],
            "raw_ids": [event.raw_file_storage_id for event in events],
            "sizes": [str(event.file_size_bytes) for event in events],
            "md5s": [holder.event.content_md5_hash if isinstance(holder, Content) else None for holder in holders],
            "correlation_ids": [uuid_text(holder.correlation_id) for holder in holders],
            **others,
        }
    )


def assign_essay_ids(claims: Sequence[SlotClaim], rows: Iterable[Sequence[Any]]) -> list[SlotClaim]:
    """Set the essay ids that a claim returned, by batch and upload; return the claims that got none.

    Raises InventoryMismatch if the content already held a slot that was not read before.
    """
    # Columns by position, which is the same for every strategy: access by name costs a lookup each.
    claimed = {(batch_id, upload_id): (essay_id, created) for batch_id, upload_id, essay_id, created in rows}
    missing = []
    for one in claims:
        found = claimed.get((one.batch.batch_id, one.slot.file_upload_id))
        if found is None:
            missing.append(one)
            continue
        essay_id, created = found
        if not created:
            raise InventoryMismatch(f"essay {essay_id!r} holds a content that was not read before")
        one.slot.essay_id = essay_id
    return missing

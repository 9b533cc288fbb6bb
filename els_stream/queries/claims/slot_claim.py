"""What a claim is asked for, as the arrays that every strategy's statements take, and what they answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from els_stream.domain.batch import Content
from els_stream.errors import InventoryMismatch
from els_stream.fast_dataclass import fast_dataclass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from els_stream.domain.batch import Batch, Slot

# A claim names the free essays of each batch beside the ordinals of the contents that want them, and so makes one array
# of essay ids that stands in the order of its input: all of that is zipped once. A join by row number would be planned
# for one row, and be quadratic in a big micro-batch.
WANTED: Final = """
    wanted AS (
        SELECT i.batch_id, count(*) AS n, array_agg(i.ord ORDER BY i.ord) AS ords
        FROM unnest(CAST(:batch_ids AS text[])) WITH ORDINALITY AS i (batch_id, ord)
        GROUP BY i.batch_id
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


@fast_dataclass
class SlotClaim:
    """A slot that a content or a failure is to hold, in a batch that has a free one by its counters."""

    batch: Batch
    slot: Slot


def columns(wanted: Sequence[SlotClaim]) -> Mapping[str, Sequence[object]]:
    holders = [w.slot.holder for w in wanted]
    return {
        "batch_ids": [w.batch.batch_id for w in wanted],
        "text_ids": [w.slot.text_storage_id for w in wanted],
        "upload_ids": [w.slot.file_upload_id for w in wanted],
        "file_names": [holder.event.original_file_name for holder in holders],
        "raw_ids": [holder.event.raw_file_storage_id for holder in holders],
        "sizes": [holder.event.file_size_bytes for holder in holders],
        "md5s": [holder.event.content_md5_hash if isinstance(holder, Content) else None for holder in holders],
        "correlation_ids": [holder.correlation_id for holder in holders],
    }


def name_essays(wanted: Sequence[SlotClaim], rows: Iterable[Sequence[Any]]) -> list[SlotClaim]:
    """Give the slots the essay ids that a claim answered, by batch and upload; those it did not answer are returned.

    Raises InventoryMismatch where the database had the content in a slot that the facts before did not show.
    """
    # By place, as every strategy answers: the names of a row are looked up at each use.
    claimed = {(batch_id, upload_id): (essay_id, created) for batch_id, upload_id, essay_id, created in rows}
    missing = []
    for one in wanted:
        found = claimed.get((one.batch.batch_id, one.slot.file_upload_id))
        if found is None:
            missing.append(one)
            continue
        essay_id, created = found
        if not created:
            raise InventoryMismatch(f"essay {essay_id!r} holds a content that its batch's facts did not show")
        one.slot.essay_id = essay_id
    return missing

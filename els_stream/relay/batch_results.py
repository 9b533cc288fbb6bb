"""What the outcomes of a batch's events mean for its segments and exceptions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from els_stream.queries.outbox_segments import MovedRow

if TYPE_CHECKING:
    from els_stream.queries.outbox_rows import FailedRow, WaitingRow
    from els_stream.queries.outbox_segments import Segment
    from els_stream.relay.key_order import KeyOrder
    from els_stream.relay.publish_batch import PublishBatch


@dataclass(slots=True)
class BatchResults:
    """Segments to delete, segments to finish by moving what is `left` of them aside, and exceptions."""

    done: list[Segment] = field(default_factory=list)
    moved: list[Segment] = field(default_factory=list)
    left: list[MovedRow] = field(default_factory=list)
    acked: list[WaitingRow] = field(default_factory=list)
    failed: list[FailedRow] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.done or self.moved or self.acked or self.failed)


def results_of(batch: PublishBatch, order: KeyOrder) -> BatchResults:
    """Return what to write back.

    Per shard only the first segments are finished, up to one with events that may be sent later as they are. Once the
    last segment of a key is gone, none before it waits; the trackers rely on this.
    """
    failed = order.failed
    if not failed and not order.left and not batch.blocked:
        return BatchResults(done=list(batch.segments), acked=list(batch.exceptions))
    exceptions = {id(row) for row in batch.exceptions}
    results = BatchResults(
        acked=[row for row in order.acked if id(row) in exceptions],
        failed=[one for one in failed if id(one.row) in exceptions],
    )
    errors = {id(one.row): one.error for one in failed}
    movable = {one.row.order_key for one in failed} | batch.blocked
    unsent = {id(row) for row in order.left}
    stopped: set[int] = set()
    for segment in batch.segments:
        left = [row for row in segment.rows if id(row) in unsent or row.order_key in batch.blocked]
        if segment.shard in stopped or not all(row.order_key in movable for row in left):
            stopped.add(segment.shard)
        elif left:
            results.moved.append(segment)
            results.left += [MovedRow(segment.position, row, errors.get(id(row))) for row in left]
        else:
            results.done.append(segment)
    return results

"""The rules that decide whether the counters of a tracker agree with its rows, and whether they can be recounted."""

from __future__ import annotations

from dataclasses import dataclass

from els_stream.domain.batch import BatchState


@dataclass(frozen=True, slots=True)
class SlotCounts:
    """The numbers of slots of a batch by state."""

    free: int
    filled: int
    failed: int

    @property
    def total(self) -> int:
        return self.free + self.filled + self.failed


@dataclass(frozen=True, slots=True)
class BatchConsistency:
    """The counters of a tracker beside the counts of its rows. `pending` of a registered batch is 0 or 1."""

    batch_id: str
    state: BatchState
    expected: int
    counters: SlotCounts
    rows: SlotCounts
    pending_counter: int
    pending: int

    @property
    def miscounted(self) -> bool:
        """Whether the slot counters of an active batch differ from its rows; others are not counted."""
        return self.state in {BatchState.OPEN, BatchState.CONTENT_COMPLETE} and self.counters != self.rows

    @property
    def recountable(self) -> bool:
        """Whether the rows make a whole batch, and no published event would become untrue."""
        return self.rows.total == self.expected and (self.state is BatchState.OPEN or self.rows.free == 0)

    @property
    def inconsistent(self) -> bool:
        """Whether anything needs a repair, also an unregistered batch without pending events."""
        if self.state is BatchState.UNREGISTERED:
            return self.pending_counter != self.pending or self.pending == 0
        return self.pending > 0 or self.miscounted

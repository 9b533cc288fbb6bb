"""The stored facts of one batch in memory: the rules see nothing else from one transaction to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from els_stream.domain.allocation import Allocation
from els_stream.domain.associations import CurrentAssociation
from els_stream.domain.batch import Batch, BatchEvent, ContentWasExcess, Fact, Slot, SlotWasAssigned
from tests.support import factories as make


@dataclass
class RuleHarness:
    """Slots by essay id as (upload, text). Only what `handle` writes into it is kept."""

    batch: Batch
    slots: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    excess: dict[str, str] = field(default_factory=dict)
    failed_uploads: set[str] = field(default_factory=set)
    current_associations: dict[str, CurrentAssociation] = field(default_factory=dict)
    facts: list[tuple[str, ...]] = field(default_factory=list)

    def handle(self, events: Sequence[BatchEvent]) -> list[str]:
        """Apply the events as one transaction; return the label of each outcome."""
        allocation = self._read()
        outcomes = [allocation.apply(event) for event in events]
        if allocation.changed:
            self._write(allocation)
        return [outcome.label for outcome in outcomes]

    def _read(self) -> Allocation:
        allocation = Allocation(self.batch, make.NOON, failed_uploads=set(self.failed_uploads))
        for essay_id, (upload, text) in self.slots.items():
            allocation.add_holder(Slot(upload, text, essay_id))
        for text, upload in self.excess.items():
            allocation.add_excess(text, upload)
        every = make.essay_ids(self.batch.expected)
        allocation.current_associations = {
            essay_id: self.current_associations.get(essay_id, CurrentAssociation()) for essay_id in every
        }
        return allocation

    def _write(self, allocation: Allocation) -> None:
        free = [essay_id for essay_id in make.essay_ids(self.batch.expected) if essay_id not in self.slots]
        for slot, essay_id in zip(allocation.claims, free, strict=False):
            slot.essay_id = essay_id
        for slot in [*allocation.claims, *(slot for slot, _ in allocation.take_overs)]:
            self.slots[slot.essay_id] = (slot.file_upload_id, slot.text_storage_id)
        self.excess |= {c.event.text_storage_id: c.event.file_upload_id for c in allocation.excess}
        self.failed_uploads |= {f.event.file_upload_id for f in allocation.failures}
        self.current_associations |= {
            essay_id: CurrentAssociation.from_event(a) for essay_id, a in allocation.associations.items()
        }
        self.facts += [_named(fact) for fact in allocation.facts]


def _named(fact: Fact) -> tuple[str, ...]:
    match fact:
        case SlotWasAssigned(slot, content):
            return ("assigned", slot.essay_id, content.event.text_storage_id)
        case ContentWasExcess(content):
            return ("excess", content.event.text_storage_id)
        case _:
            return (type(fact).__name__,)

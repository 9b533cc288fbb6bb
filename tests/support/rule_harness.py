"""What the tables would hold of one batch: decisions are told of nothing else between two transactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from els_stream.domain.allocation import Allocation
from els_stream.domain.associations import CurrentAssociation, current_association
from els_stream.domain.batch import Batch, ContentWasExcess, Fact, Payload, Slot, SlotWasAssigned
from tests.support import factories as make


@dataclass
class RuleHarness:
    """Slots by essay id as (upload, text); whatever is not written into it is forgotten at the end of `handle`."""

    batch: Batch
    slots: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    excess: dict[str, str] = field(default_factory=dict)
    failed_uploads: set[str] = field(default_factory=set)
    students: dict[str, CurrentAssociation] = field(default_factory=dict)
    told: list[tuple[str, ...]] = field(default_factory=list)

    def handle(self, payloads: Sequence[Payload]) -> list[str]:
        """One transaction: facts, decisions, writes; the labels of what became of each."""
        inventory = self._facts()
        outcomes = [inventory.admit(payload) for payload in payloads]
        if inventory.changed:
            self._write(inventory)
        return [outcome.label for outcome in outcomes]

    def _facts(self) -> Allocation:
        inventory = Allocation(self.batch, make.NOON, failed_uploads=set(self.failed_uploads))
        for essay_id, (upload, text) in self.slots.items():
            inventory.holds(Slot(upload, text, essay_id))
        for text, upload in self.excess.items():
            inventory.was_excess(text, upload)
        every = make.essay_ids(self.batch.expected)
        inventory.students = {essay_id: self.students.get(essay_id, CurrentAssociation()) for essay_id in every}
        return inventory

    def _write(self, inventory: Allocation) -> None:
        free = [essay_id for essay_id in make.essay_ids(self.batch.expected) if essay_id not in self.slots]
        for slot, essay_id in zip(inventory.claims, free, strict=False):
            slot.essay_id = essay_id
        for slot in [*inventory.claims, *(slot for slot, _ in inventory.take_overs)]:
            self.slots[slot.essay_id] = (slot.file_upload_id, slot.text_storage_id)
        self.excess |= {c.event.text_storage_id: c.event.file_upload_id for c in inventory.excess}
        self.failed_uploads |= {f.event.file_upload_id for f in inventory.failures}
        self.students |= {essay_id: current_association(a) for essay_id, a in inventory.associations.items()}
        self.told += [_named(fact) for fact in inventory.facts]


def _named(fact: Fact) -> tuple[str, ...]:
    match fact:
        case SlotWasAssigned(slot, content):
            return ("assigned", slot.essay_id, content.event.text_storage_id)
        case ContentWasExcess(content):
            return ("excess", content.event.text_storage_id)
        case _:
            return (type(fact).__name__,)

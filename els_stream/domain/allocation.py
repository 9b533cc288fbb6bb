"""The rules by which arrivals take a batch's slots and complete it.

Arrivals are admitted one after the other, so a micro-batch means the same as its events one at a time; the claim
statement afterwards gives every new `Slot` its essay id in one go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from els_stream.domain import outcomes
from els_stream.domain.associations import CurrentAssociation, current_association, takes_precedence
from els_stream.domain.batch import (
    Batch,
    BatchBecameReady,
    BatchState,
    ClassType,
    Confirmation,
    Content,
    ContentBecameComplete,
    ContentWasExcess,
    Fact,
    FailedUpload,
    Payload,
    Slot,
    SlotWasAssigned,
    SourceRecord,
)
from els_stream.events.dead_letter_reasons import DeadLetterReason

if TYPE_CHECKING:
    from datetime import datetime

    from els_stream.events.inbound import StudentAssociation


@dataclass(slots=True)
class Allocation:
    """A registered batch with what its rows say of the uploads and texts at hand, and what is to be written."""

    batch: Batch
    now: datetime
    by_text: dict[str, Slot] = field(default_factory=dict)
    by_upload: dict[str, Slot] = field(default_factory=dict)
    excess_by_text: set[str] = field(default_factory=set)
    excess_by_upload: set[str] = field(default_factory=set)
    failed_uploads: set[str] = field(default_factory=set)
    students: dict[str, CurrentAssociation] = field(default_factory=dict)  # of the essays at hand that exist

    claims: list[Slot] = field(default_factory=list)
    take_overs: list[tuple[Slot, Content]] = field(default_factory=list)
    excess: list[Content] = field(default_factory=list)
    failures: list[FailedUpload] = field(default_factory=list)
    associations: dict[str, StudentAssociation] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    confirmed: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything is to be written; repeats alone change nothing."""
        return bool(
            self.facts or self.claims or self.take_overs or self.failures or self.associations or self.confirmed
        )

    def holds(self, slot: Slot) -> None:
        """Tell of a slot that its row says is held."""
        self.by_upload[slot.file_upload_id] = slot
        if slot.text_storage_id is not None:
            self.by_text[slot.text_storage_id] = slot

    def was_excess(self, text_storage_id: str, file_upload_id: str) -> None:
        """Tell of a content that found the batch full."""
        self.excess_by_text.add(text_storage_id)
        self.excess_by_upload.add(file_upload_id)

    def recount(self, free: int, filled: int, failed: int) -> None:
        """Take the rows' counts for true, and what follows from them: all that was free may be gone."""
        self.batch.free, self.batch.filled, self.batch.failed = free, filled, failed
        if self.batch.state is BatchState.OPEN:
            self._complete_if_full(None)

    def admit(self, payload: Payload) -> outcomes.Outcome:
        match payload:
            case Content():
                return self.admit_content(payload)
            case FailedUpload():
                return self.admit_failure(payload)
            case Confirmation():
                return self.confirm(payload)
            case _:
                assert_never(payload)

    def admit_content(self, content: Content) -> outcomes.Outcome:
        """Give the content exactly one fate. A repeat is known by its text, since the platform dedupes equal texts."""
        text, upload = content.event.text_storage_id, content.event.file_upload_id
        if (held := self.by_text.get(text)) is not None:
            same_upload = held.file_upload_id == upload
            return (outcomes.AlreadyAssigned if same_upload else outcomes.AlreadyAssignedByOtherUpload)(held)
        if text in self.excess_by_text:
            return outcomes.AlreadyExcess()
        slot = self.by_upload.get(upload)
        if upload in self.excess_by_upload or (slot is not None and slot.text_storage_id is not None):
            return outcomes.another_text()
        if self.batch.free == 0:  # full, or complete with this upload's failure in a slot: too late to take it over
            return self._refuse_as_excess(content)
        return self._assign(content, slot)

    def admit_failure(self, failure: FailedUpload) -> outcomes.Outcome:
        """Let the failed file consume a free slot, unless its upload has had its fate or none is free."""
        upload = failure.event.file_upload_id
        if upload in self.failed_uploads:
            return outcomes.AlreadyFailed()
        self.failed_uploads.add(upload)
        self.failures.append(failure)
        if upload in self.by_upload or upload in self.excess_by_upload or self.batch.free == 0:
            return outcomes.FailureRecorded()
        slot = Slot(upload, holder=failure)
        self.claims.append(slot)
        self.holds(slot)
        self.batch.free -= 1
        self.batch.failed += 1
        self._complete_if_full(failure.origin)
        return outcomes.SlotFailed(slot)

    def confirm(self, confirmation: Confirmation) -> outcomes.Outcome:
        """The first valid associations confirm the batch, whichever essays they list; one event is one fact."""
        event = confirmation.event
        if self.batch.class_type is ClassType.GUEST:
            return outcomes.Refused(DeadLetterReason.GUEST_BATCH, "a batch without class has no student associations")
        if event.class_id != self.batch.class_id:
            return outcomes.Refused(DeadLetterReason.CLASS_MISMATCH, "the batch is of another class")
        if unknown := sorted({a.essay_id for a in event.associations} - self.students.keys()):
            return outcomes.Refused(DeadLetterReason.UNKNOWN_ESSAY, f"not essays of this batch: {', '.join(unknown)}")
        for association in event.associations:
            if takes_precedence(association, self.students[association.essay_id]):
                self.students[association.essay_id] = current_association(association)
                self.associations[association.essay_id] = association
        if self.batch.associations_confirmed_at is not None:
            return outcomes.AssociationsUpdated()
        self.batch.associations_confirmed_at = self.now
        self.confirmed = True
        self._ready_if_all_is_there(confirmation.origin)
        return outcomes.AssociationsConfirmed()

    def _assign(self, content: Content, failed_slot: Slot | None) -> outcomes.Outcome:
        slot = failed_slot or Slot(content.event.file_upload_id)
        slot.text_storage_id = content.event.text_storage_id
        slot.holder = content
        self.holds(slot)
        self.batch.filled += 1
        self.facts.append(SlotWasAssigned(slot, content))
        if failed_slot is None:
            self.claims.append(slot)
            self.batch.free -= 1
            self._complete_if_full(content.origin)
            return outcomes.Assigned(slot)
        if slot.essay_id:  # else it is claimed in this very transaction, by its content then
            self.take_overs.append((slot, content))
        self.batch.failed -= 1
        return outcomes.TookOverFailedSlot(slot)

    def _refuse_as_excess(self, content: Content) -> outcomes.Outcome:
        self.excess.append(content)
        self.was_excess(content.event.text_storage_id, content.event.file_upload_id)
        self.facts.append(ContentWasExcess(content))
        return outcomes.NoFreeSlot()

    def _complete_if_full(self, origin: SourceRecord | None) -> None:
        if self.batch.free > 0:
            return
        self.batch.state = BatchState.CONTENT_COMPLETE
        self.batch.content_completed_at = self.now
        self.facts.append(ContentBecameComplete(origin))
        if self.batch.class_type is ClassType.GUEST or self.batch.filled == 0:
            self._complete()
        else:
            self._ready_if_all_is_there(origin)

    def _ready_if_all_is_there(self, origin: SourceRecord | None) -> None:
        complete = self.batch.state is BatchState.CONTENT_COMPLETE
        if complete and self.batch.associations_confirmed_at is not None:
            self.facts.append(BatchBecameReady(origin))
            self._complete()

    def _complete(self) -> None:
        self.batch.state = BatchState.COMPLETED
        self.batch.completed_at = self.now

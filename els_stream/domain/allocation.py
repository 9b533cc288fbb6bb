"""The rules by which events take the slots of a batch and complete it.

Events are applied one after the other, so a micro-batch gives the same result as its events one at a time; the claim
statement afterwards gives all new slots their essay ids at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from els_stream.domain.associations import CurrentAssociation, takes_precedence
from els_stream.domain.batch import (
    Batch,
    BatchBecameReady,
    BatchEvent,
    BatchState,
    ClassType,
    Confirmation,
    Content,
    ContentBecameComplete,
    ContentWasExcess,
    Fact,
    FailedUpload,
    Slot,
    SlotWasAssigned,
    SourceRecord,
)
from els_stream.domain.outcomes import (
    AlreadyAssigned,
    AlreadyAssignedByOtherUpload,
    Assigned,
    Outcome,
    PlainOutcome,
    Refused,
    SlotFailed,
    TookOverFailedSlot,
    another_text,
    batch_purged,
)
from els_stream.events.dead_letter_reasons import DeadLetterReason

if TYPE_CHECKING:
    from datetime import datetime

    from els_stream.domain.pending import PendingKey
    from els_stream.events.inbound import StudentAssociation


@dataclass(slots=True)
class Allocation:
    """A locked batch, the stored facts that the events at hand concern, and what is to be written."""

    batch: Batch
    now: datetime
    max_pending: int = 0  # how many events may be pending at once; read only where the batch is unregistered

    holder_by_text: dict[str, Slot] = field(default_factory=dict)
    holder_by_upload: dict[str, Slot] = field(default_factory=dict)
    excess_by_text: set[str] = field(default_factory=set)
    excess_by_upload: set[str] = field(default_factory=set)
    failed_uploads: set[str] = field(default_factory=set)
    current_associations: dict[str, CurrentAssociation] = field(default_factory=dict)  # of the listed essays that exist
    pending_texts: dict[PendingKey, str | None] = field(default_factory=dict)  # of the pending events; contents only

    claims: list[Slot] = field(default_factory=list)
    take_overs: list[tuple[Slot, Content]] = field(default_factory=list)
    excess: list[Content] = field(default_factory=list)
    failures: list[FailedUpload] = field(default_factory=list)
    associations: dict[str, StudentAssociation] = field(default_factory=dict)
    pending: list[BatchEvent] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    confirmed: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything is to be written; repeats alone change nothing."""
        return bool(
            self.facts
            or self.claims
            or self.take_overs
            or self.failures
            or self.associations
            or self.pending
            or self.confirmed
        )

    def add_holder(self, slot: Slot) -> None:
        """Add a slot that an upload holds."""
        self.holder_by_upload[slot.file_upload_id] = slot
        if slot.text_storage_id is not None:
            self.holder_by_text[slot.text_storage_id] = slot

    def add_excess(self, text_storage_id: str, file_upload_id: str) -> None:
        """Add a content that found the batch full."""
        self.excess_by_text.add(text_storage_id)
        self.excess_by_upload.add(file_upload_id)

    def recount(self, free: int, filled: int, failed: int) -> None:
        """Set the counters to what the rows say, and complete the batch where no slot is free."""
        self.batch.free, self.batch.filled, self.batch.failed = free, filled, failed
        if self.batch.state is BatchState.OPEN:
            self._complete_if_full(None)

    def apply(self, event: BatchEvent) -> Outcome:
        """Apply one event, or store it as pending where the batch is not registered yet."""
        if self.batch.state is BatchState.UNREGISTERED:
            return self._store_as_pending(event)
        if self.batch.state is BatchState.PURGED:
            return batch_purged()
        match event:
            case Content():
                return self._apply_content(event)
            case FailedUpload():
                return self._apply_failure(event)
            case Confirmation():
                return self._confirm(event)
            case _:
                assert_never(event)

    def _store_as_pending(self, event: BatchEvent) -> Outcome:
        key = event.pending_key
        if key in self.pending_texts:
            return PlainOutcome.ALREADY_PENDING if self.pending_texts[key] == event.text_id else another_text()
        if self.batch.pending >= self.max_pending:
            return Refused(DeadLetterReason.TOO_MANY_PARKED, f"{self.max_pending} events wait for this batch")
        self.pending_texts[key] = event.text_id
        self.pending.append(event)
        self.batch.pending += 1
        return PlainOutcome.STORED_AS_PENDING

    def _apply_content(self, content: Content) -> Outcome:
        """Give the content exactly one outcome. A repeat is known by its text: the platform dedupes equal texts."""
        text, upload = content.event.text_storage_id, content.event.file_upload_id
        if (holder := self.holder_by_text.get(text)) is not None:
            same_upload = holder.file_upload_id == upload
            return (AlreadyAssigned if same_upload else AlreadyAssignedByOtherUpload)(holder)
        if text in self.excess_by_text:
            return PlainOutcome.ALREADY_EXCESS
        slot = self.holder_by_upload.get(upload)
        if upload in self.excess_by_upload or (slot is not None and slot.text_storage_id is not None):
            return another_text()
        if self.batch.free == 0:  # full, or complete with this upload's failure in a slot: too late to take it over
            return self._refuse_as_excess(content)
        return self._assign(content, slot)

    def _apply_failure(self, failure: FailedUpload) -> Outcome:
        """Let the failed file consume a free slot, unless its upload has an outcome already or no slot is free."""
        upload = failure.event.file_upload_id
        if upload in self.failed_uploads:
            return PlainOutcome.ALREADY_FAILED
        self.failed_uploads.add(upload)
        self.failures.append(failure)
        if upload in self.holder_by_upload or upload in self.excess_by_upload or self.batch.free == 0:
            return PlainOutcome.FAILURE_RECORDED
        slot = Slot(upload, new_holder=failure)
        self.claims.append(slot)
        self.add_holder(slot)
        self.batch.free -= 1
        self.batch.failed += 1
        self._complete_if_full(failure.source)
        return SlotFailed(slot)

    def _confirm(self, confirmation: Confirmation) -> Outcome:
        """Confirm the batch with the first valid associations, whichever essays they list; later ones only update.

        An event with one unknown essay is refused as a whole.
        """
        event = confirmation.event
        if self.batch.class_type is ClassType.GUEST:
            return Refused(DeadLetterReason.GUEST_BATCH, "a batch without class has no student associations")
        if event.class_id != self.batch.class_id:
            return Refused(DeadLetterReason.CLASS_MISMATCH, "the batch is of another class")
        if unknown := sorted({a.essay_id for a in event.associations} - self.current_associations.keys()):
            return Refused(DeadLetterReason.UNKNOWN_ESSAY, f"not essays of this batch: {', '.join(unknown)}")
        for association in event.associations:
            if takes_precedence(association, self.current_associations[association.essay_id]):
                self.current_associations[association.essay_id] = CurrentAssociation.from_event(association)
                self.associations[association.essay_id] = association
        if self.batch.associations_confirmed_at is not None:
            return PlainOutcome.ASSOCIATIONS_UPDATED
        self.batch.associations_confirmed_at = self.now
        self.confirmed = True
        self._complete_if_ready(confirmation.source)
        return PlainOutcome.ASSOCIATIONS_CONFIRMED

    def _assign(self, content: Content, failed_slot: Slot | None) -> Outcome:
        slot = failed_slot or Slot(content.event.file_upload_id)
        slot.text_storage_id = content.event.text_storage_id
        slot.new_holder = content
        self.add_holder(slot)
        self.batch.filled += 1
        self.facts.append(SlotWasAssigned(slot, content))
        if failed_slot is None:
            self.claims.append(slot)
            self.batch.free -= 1
            self._complete_if_full(content.source)
            return Assigned(slot)
        if slot.essay_id:  # otherwise it is claimed in this transaction, and its content is the holder by then
            self.take_overs.append((slot, content))
        self.batch.failed -= 1
        return TookOverFailedSlot(slot)

    def _refuse_as_excess(self, content: Content) -> Outcome:
        self.excess.append(content)
        self.add_excess(content.event.text_storage_id, content.event.file_upload_id)
        self.facts.append(ContentWasExcess(content))
        return PlainOutcome.NO_FREE_SLOT

    def _complete_if_full(self, source: SourceRecord | None) -> None:
        if self.batch.free > 0:
            return
        self.batch.state = BatchState.CONTENT_COMPLETE
        self.batch.content_completed_at = self.now
        self.facts.append(ContentBecameComplete(source))
        if self.batch.class_type is ClassType.GUEST or self.batch.filled == 0:
            self._complete()
        else:
            self._complete_if_ready(source)

    def _complete_if_ready(self, source: SourceRecord | None) -> None:
        complete = self.batch.state is BatchState.CONTENT_COMPLETE
        if complete and self.batch.associations_confirmed_at is not None:
            self.facts.append(BatchBecameReady(source))
            self._complete()

    def _complete(self) -> None:
        self.batch.state = BatchState.COMPLETED
        self.batch.completed_at = self.now

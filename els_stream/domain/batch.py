"""A locked batch: its tracker row, its slots, the events to apply to it, and the new facts that they cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from els_stream.domain.pending import PendingKey, PendingKind
from els_stream.fast_dataclass import fast_dataclass

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from els_stream.domain.claim_strategy import SlotTable
    from els_stream.events.inbound import (
        EssayContentProvisionedV1,
        EssayValidationFailedV1,
        StudentAssociationsConfirmedV1,
    )
    from els_stream.events.records import RawRecord


class BatchState(StrEnum):
    """The states of a tracker row; a CHECK in the database repeats them."""

    UNREGISTERED = "unregistered"
    OPEN = "open"
    CONTENT_COMPLETE = "content_complete"
    COMPLETED = "completed"
    PURGED = "purged"


class ClassType(StrEnum):
    """GUEST batches belong to no class; REGULAR ones need confirmed student associations before they are ready."""

    GUEST = "GUEST"
    REGULAR = "REGULAR"


class SourceRecord(Protocol):
    """The record that brought an event. Its trace and its time go into the events that follow; no rule reads them."""

    @property
    def record(self) -> RawRecord: ...

    @property
    def timestamp(self) -> int:
        """In milliseconds since the epoch."""
        ...

    @property
    def traceparent(self) -> str | None: ...


@fast_dataclass
class Content:
    """A provisioned content and the correlation id of its chain of causes."""

    event: EssayContentProvisionedV1
    correlation_id: UUID
    source: SourceRecord = field(compare=False)

    @property
    def pending_key(self) -> PendingKey:
        return PendingKey(PendingKind.CONTENT, self.event.file_upload_id)

    @property
    def text_id(self) -> str | None:
        return self.event.text_storage_id


@dataclass(frozen=True, slots=True)
class FailedUpload:
    """A file that failed validation, and the correlation id of its chain of causes."""

    event: EssayValidationFailedV1
    correlation_id: UUID
    source: SourceRecord = field(compare=False)

    @property
    def pending_key(self) -> PendingKey:
        return PendingKey(PendingKind.FAILURE, self.event.file_upload_id)

    @property
    def text_id(self) -> str | None:
        return None


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Confirmed student associations."""

    event: StudentAssociationsConfirmedV1
    event_id: UUID
    source: SourceRecord = field(compare=False)

    @property
    def pending_key(self) -> PendingKey:
        return PendingKey(PendingKind.ASSOCIATIONS, str(self.event_id))

    @property
    def text_id(self) -> str | None:
        return None


BatchEvent = Content | FailedUpload | Confirmation
"""An event of a batch other than its registration; it may arrive before the registration."""


@dataclass(slots=True)
class Slot:
    """A slot that an upload holds. `essay_id` is empty until the claim has assigned one."""

    file_upload_id: str
    text_storage_id: str | None = None
    essay_id: str = ""
    new_holder: Content | FailedUpload | None = None  # to be written; None where the row has the holder already

    @property
    def holder(self) -> Content | FailedUpload:
        """The content or failure that a claim writes into the slot. Raises ValueError for a slot that was read."""
        if self.new_holder is None:
            raise ValueError("the slot has no new holder")
        return self.new_holder


class OutboxPosition(NamedTuple):
    """The place of a segment of the outbox."""

    shard: int
    position: int


@dataclass(slots=True)
class Batch:
    """A tracker row. The transaction that has this object holds the lock of the row."""

    batch_id: str
    state: BatchState
    class_type: ClassType | None
    slot_table: SlotTable | None
    expected: int
    free: int
    filled: int
    failed: int
    pending: int
    next_sequence: int
    course_code: str | None
    user_id: str | None
    class_id: str | None
    correlation_id: UUID | None
    student_prompt_ref: dict[str, object] | None
    registration_digest: bytes | None
    associations_confirmed_at: datetime | None
    content_completed_at: datetime | None
    completed_at: datetime | None
    last_segment: OutboxPosition | None = None  # of the outbox: events of the batch wait as long as it exists

    @property
    def registered(self) -> bool:
        """Whether the batch takes events: it is registered and not purged."""
        return self.state not in _NOT_REGISTERED


_NOT_REGISTERED = frozenset({BatchState.UNREGISTERED, BatchState.PURGED})


# New facts, in the order in which they became true: the outgoing events of the batch are made from them.


@fast_dataclass
class SlotWasAssigned:
    """A content took a slot."""

    slot: Slot
    content: Content

    @property
    def source(self) -> SourceRecord | None:
        return self.content.source


@dataclass(frozen=True, slots=True)
class ContentWasExcess:
    """A content found no free slot."""

    content: Content

    @property
    def source(self) -> SourceRecord | None:
        return self.content.source


@dataclass(frozen=True, slots=True)
class ContentBecameComplete:
    """The last free slot was taken."""

    source: SourceRecord | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class BatchBecameReady:
    """A REGULAR batch whose content is complete and not all failed, and whose associations are confirmed."""

    source: SourceRecord | None = field(default=None, compare=False)


Fact = SlotWasAssigned | ContentWasExcess | ContentBecameComplete | BatchBecameReady

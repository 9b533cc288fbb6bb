"""One batch as it stands under its row lock: its tracker row, its slots, what arrives, and what became true."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

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


class BatchState(StrEnum):
    """The states of a tracker row; a CHECK in the database repeats them."""

    UNREGISTERED = "unregistered"
    OPEN = "open"
    CONTENT_COMPLETE = "content_complete"
    COMPLETED = "completed"
    PURGED = "purged"


class ClassType(StrEnum):
    GUEST = "GUEST"
    REGULAR = "REGULAR"


class SourceRecord(Protocol):
    """The record that brought an event. What follows from the event belongs to its trace; no decision looks at it."""

    @property
    def timestamp(self) -> int:
        """In milliseconds."""
        ...

    @property
    def traceparent(self) -> str | None: ...


@fast_dataclass
class Content:
    """A provisioned content and the correlation id of its chain."""

    event: EssayContentProvisionedV1
    correlation_id: UUID
    origin: SourceRecord | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class FailedUpload:
    """A failed file and the correlation id of its chain."""

    event: EssayValidationFailedV1
    correlation_id: UUID
    origin: SourceRecord | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Confirmed student associations."""

    event: StudentAssociationsConfirmedV1
    origin: SourceRecord | None = field(default=None, compare=False)


Payload = Content | FailedUpload | Confirmation


@dataclass(slots=True)
class Slot:
    """A slot that an upload holds. `essay_id` is empty until the claim has named one."""

    file_upload_id: str
    text_storage_id: str | None = None
    essay_id: str = ""
    holder: Content | FailedUpload | None = None  # what is to be written; None where the row says it already

    @property
    def written(self) -> Content | FailedUpload:
        """What a claim writes into the slot."""
        if self.holder is None:
            raise ValueError("the slot is claimed for nothing")
        return self.holder


@dataclass(slots=True)
class Batch:
    """The tracker row; its lock is held by whoever has this object."""

    batch_id: str
    state: BatchState
    class_type: ClassType | None
    inventory: SlotTable | None
    expected: int
    free: int
    filled: int
    failed: int
    parked: int
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


# What became true, in the order in which it did: the batch's outgoing events are made from it.


@fast_dataclass
class SlotWasAssigned:
    slot: Slot
    content: Content

    @property
    def origin(self) -> SourceRecord | None:
        return self.content.origin


@dataclass(frozen=True, slots=True)
class ContentWasExcess:
    content: Content

    @property
    def origin(self) -> SourceRecord | None:
        return self.content.origin


@dataclass(frozen=True, slots=True)
class ContentBecameComplete:
    """No slot is free any more."""

    origin: SourceRecord | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class BatchBecameReady:
    """REGULAR: the content is complete, some slot holds any, and the associations are confirmed."""

    origin: SourceRecord | None = field(default=None, compare=False)


Fact = SlotWasAssigned | ContentWasExcess | ContentBecameComplete | BatchBecameReady

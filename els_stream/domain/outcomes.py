"""The outcomes of an input event: a closed union. Each label is a value of the metric of events by outcome."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, get_args

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.fast_dataclass import fast_dataclass

if TYPE_CHECKING:
    from els_stream.domain.batch import Slot


class PlainOutcome(StrEnum):
    """The outcomes that carry nothing but their label."""

    ALREADY_REGISTERED = "already_registered"  # an equal registration was applied before
    NO_FREE_SLOT = "excess"  # all slots are taken, which is not the same as locked by others at the moment
    ALREADY_EXCESS = "already_excess"
    ALREADY_FAILED = "already_failed"
    FAILURE_RECORDED = "failure_recorded"  # it consumed no slot: its upload has an outcome, or none was free
    ASSOCIATIONS_CONFIRMED = "associations_confirmed"  # the first valid associations of the batch
    ASSOCIATIONS_UPDATED = "associations_updated"  # confirmed before; students changed where these take precedence
    STORED_AS_PENDING = "pending"  # it came before its batch; the registration will apply it
    ALREADY_PENDING = "already_pending"

    @property
    def label(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Registered:
    """The batch is open, and its pending events, `applied_pending` of them, are applied."""

    label: ClassVar[str] = "registered"
    applied_pending: int


@fast_dataclass
class Assigned:
    """The content took a free slot. The claim sets `slot.essay_id`."""

    label: ClassVar[str] = "assigned"
    created: ClassVar[bool] = True
    slot: Slot


@dataclass(frozen=True, slots=True)
class AlreadyAssigned:
    """A repeat: this text holds a slot, by the same upload."""

    label: ClassVar[str] = "already_assigned"
    created: ClassVar[bool] = False
    slot: Slot


@dataclass(frozen=True, slots=True)
class AlreadyAssignedByOtherUpload:
    """A repeat: a second upload of a text that holds a slot. The platform dedupes equal texts."""

    label: ClassVar[str] = "already_assigned_by_other_upload"
    created: ClassVar[bool] = False
    slot: Slot


@dataclass(frozen=True, slots=True)
class TookOverFailedSlot:
    """The upload's validation failure had the slot; its content has it now."""

    label: ClassVar[str] = "took_over_failed_slot"
    created: ClassVar[bool] = True
    slot: Slot


@dataclass(frozen=True, slots=True)
class SlotFailed:
    """The failed file consumed a free slot."""

    label: ClassVar[str] = "slot_failed"
    slot: Slot


@dataclass(frozen=True, slots=True)
class Refused:
    """The event can never be applied and becomes a dead letter; `field` breaks its contract, if a single one does."""

    label: ClassVar[str] = "dead_letter"
    reason: DeadLetterReason
    message: str
    field: str | None = None


def another_text() -> Refused:
    """Return the refusal of an upload that already has an outcome with another text."""
    return Refused(DeadLetterReason.UPLOAD_ALREADY_PROVISIONED, "this upload was provisioned with another text")


def batch_purged() -> Refused:
    """Return the refusal of any event of a purged batch."""
    return Refused(DeadLetterReason.BATCH_PURGED, "the batch was purged")


HoldsSlot = Assigned | TookOverFailedSlot | AlreadyAssigned | AlreadyAssignedByOtherUpload
"""Outcomes of a content that holds a slot. `slot.essay_id` is its essay; `created` is false if it had it before."""

Outcome = PlainOutcome | Registered | HoldsSlot | SlotFailed | Refused

OUTCOME_LABELS: frozenset[str] = frozenset(
    outcome.label for member in get_args(Outcome) for outcome in (PlainOutcome if member is PlainOutcome else (member,))
)

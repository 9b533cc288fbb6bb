"""What can become of one input event: a closed union. Each label is a value of the metric of events by outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, get_args

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.fast_dataclass import fast_dataclass

if TYPE_CHECKING:
    from els_stream.domain.batch import Slot


@dataclass(frozen=True, slots=True)
class Registered:
    """The batch is open, and what was parked for it was used: `drained` events."""

    label: ClassVar[str] = "registered"
    drained: int


@dataclass(frozen=True, slots=True)
class AlreadyRegistered:
    """An equal registration was applied before."""

    label: ClassVar[str] = "already_registered"


@fast_dataclass
class Assigned:
    """The content took a free slot. The claim names `slot.essay_id`."""

    label: ClassVar[str] = "assigned"
    created: ClassVar[bool] = True
    slot: Slot


@dataclass(frozen=True, slots=True)
class AlreadyAssigned:
    """A repeat: this text holds a slot. A second upload with the same text is deduplicated, and counted apart."""

    label: ClassVar[str] = "already_assigned"
    created: ClassVar[bool] = False
    slot: Slot


@dataclass(frozen=True, slots=True)
class AlreadyAssignedByOtherUpload:
    label: ClassVar[str] = "already_assigned_by_other_upload"
    created: ClassVar[bool] = False
    slot: Slot


@dataclass(frozen=True, slots=True)
class TookOverFailedSlot:
    """The upload's validation failure held the slot; its content holds it now."""

    label: ClassVar[str] = "took_over_failed_slot"
    created: ClassVar[bool] = True
    slot: Slot


@dataclass(frozen=True, slots=True)
class NoFreeSlot:
    """Excess: the batch is full, which is not the same as locked."""

    label: ClassVar[str] = "excess"


@dataclass(frozen=True, slots=True)
class AlreadyExcess:
    label: ClassVar[str] = "already_excess"


@dataclass(frozen=True, slots=True)
class SlotFailed:
    """The failed file consumed a free slot."""

    label: ClassVar[str] = "slot_failed"
    slot: Slot


@dataclass(frozen=True, slots=True)
class AlreadyFailed:
    label: ClassVar[str] = "already_failed"


@dataclass(frozen=True, slots=True)
class FailureRecorded:
    """The failure consumed no slot: its upload had its fate, or none was free."""

    label: ClassVar[str] = "failure_recorded"


@dataclass(frozen=True, slots=True)
class AssociationsConfirmed:
    """The first valid associations of the batch."""

    label: ClassVar[str] = "associations_confirmed"


@dataclass(frozen=True, slots=True)
class AssociationsUpdated:
    """The batch was confirmed before; students were updated where the newer word wins."""

    label: ClassVar[str] = "associations_updated"


@dataclass(frozen=True, slots=True)
class StoredAsPending:
    """It came before its batch; the registration will use it."""

    label: ClassVar[str] = "pending"


@dataclass(frozen=True, slots=True)
class AlreadyPending:
    label: ClassVar[str] = "already_pending"


@dataclass(frozen=True, slots=True)
class Refused:
    """It can never be applied: a dead letter."""

    label: ClassVar[str] = "dead_letter"
    reason: DeadLetterReason
    message: str


def another_text() -> Refused:
    return Refused(DeadLetterReason.UPLOAD_ALREADY_PROVISIONED, "this upload was provisioned with another text")


Outcome = (
    Registered
    | AlreadyRegistered
    | Assigned
    | AlreadyAssigned
    | AlreadyAssignedByOtherUpload
    | TookOverFailedSlot
    | NoFreeSlot
    | AlreadyExcess
    | SlotFailed
    | AlreadyFailed
    | FailureRecorded
    | AssociationsConfirmed
    | AssociationsUpdated
    | StoredAsPending
    | AlreadyPending
    | Refused
)

# Of a content: `slot.essay_id` names its essay, `created` says whether it took it just now or had it before.
HoldsSlot = Assigned | TookOverFailedSlot | AlreadyAssigned | AlreadyAssignedByOtherUpload

OUTCOME_LABELS: frozenset[str] = frozenset(member.label for member in get_args(Outcome))

"""The rules that decide what a batch waits for and whether it is stuck."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from els_stream.domain.batch import BatchState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

# A relay sends within milliseconds, so an outbox event of this age means that it does not.
MAX_RELAY_DELAY: Final = timedelta(minutes=1)


class WaitsFor(StrEnum):
    """The input or step that a batch needs next; `nothing` if the batch has ended and all its events are sent."""

    REGISTRATION = "registration"
    CONTENT = "content"
    ASSOCIATIONS = "associations"
    RELAY = "relay"
    NOTHING = "nothing"


class WithNextAttempt(Protocol):
    """An outbox event; `next_attempt_at` is set after a failed attempt to send it."""

    @property
    def created_at(self) -> datetime: ...
    @property
    def next_attempt_at(self) -> datetime | None: ...


class WaitingBatch(Protocol):
    """The facts of a batch on which the answer depends; `waiting` are its unsent events."""

    @property
    def state(self) -> str: ...
    @property
    def deadline_at(self) -> datetime | None: ...
    @property
    def waiting(self) -> Sequence[WithNextAttempt]: ...
    @property
    def read_at(self) -> datetime: ...


def waits_for(batch: WaitingBatch) -> WaitsFor:
    """Return what must come next for this batch."""
    match BatchState(batch.state):
        case BatchState.UNREGISTERED:
            return WaitsFor.REGISTRATION
        case BatchState.OPEN:
            return WaitsFor.CONTENT
        case BatchState.CONTENT_COMPLETE:
            return WaitsFor.ASSOCIATIONS
        case BatchState.COMPLETED | BatchState.PURGED:
            return WaitsFor.RELAY if batch.waiting else WaitsFor.NOTHING


def is_stuck(batch: WaitingBatch) -> bool:
    """Return whether an operator is needed: an event is not sent, or the deadline passed with free slots."""
    unsent = any(
        event.next_attempt_at is not None or batch.read_at - event.created_at > MAX_RELAY_DELAY
        for event in batch.waiting
    )
    overdue = batch.deadline_at is not None and batch.read_at > batch.deadline_at
    return unsent or (batch.state == BatchState.OPEN and overdue)

"""Why a batch waits, from what the tables say of it."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from els_stream.domain.batch import BatchState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

# A relay sends within milliseconds; a row that is this old says that it does not.
MAX_RELAY_DELAY: Final = timedelta(minutes=1)


class WaitsFor(StrEnum):
    """What must come next. `nothing` is the end: told, and done."""

    REGISTRATION = "registration"
    CONTENT = "content"
    ASSOCIATIONS = "associations"
    RELAY = "relay"
    NOTHING = "nothing"


class WithNextAttempt(Protocol):
    @property
    def created_at(self) -> datetime: ...
    @property
    def next_attempt_at(self) -> datetime | None: ...


class WaitingBatch(Protocol):
    """The part of a batch's story that the answer depends on."""

    @property
    def state(self) -> str: ...
    @property
    def deadline_at(self) -> datetime | None: ...
    @property
    def waiting(self) -> Sequence[WithNextAttempt]: ...
    @property
    def asked_at(self) -> datetime: ...


def waits_for(story: WaitingBatch) -> WaitsFor:
    match BatchState(story.state):
        case BatchState.UNREGISTERED:
            return WaitsFor.REGISTRATION
        case BatchState.OPEN:
            return WaitsFor.CONTENT
        case BatchState.CONTENT_COMPLETE:
            return WaitsFor.ASSOCIATIONS
        case BatchState.COMPLETED | BatchState.PURGED:
            return WaitsFor.RELAY if story.waiting else WaitsFor.NOTHING


def is_stuck(story: WaitingBatch) -> bool:
    """Whether someone should look: an event can't be sent or is not, or the deadline passed and slots are empty."""
    unsent = any(
        event.next_attempt_at is not None or story.asked_at - event.created_at > MAX_RELAY_DELAY
        for event in story.waiting
    )
    overdue = story.deadline_at is not None and story.asked_at > story.deadline_at
    return unsent or (story.state == BatchState.OPEN and overdue)

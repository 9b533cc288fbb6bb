"""What must come out, stated so that it holds in whatever order the partitions are read.

Which content finds its batch full, and which upload takes which slot, is decided by arrival: there a promise names
what is allowed, and no more than is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from els_stream.events import topics

if TYPE_CHECKING:
    from uuid import UUID

    from els_stream.demo.messages import Message, Upload
    from els_stream.events.dead_letter_reasons import DeadLetterReason


@dataclass(frozen=True, slots=True)
class Between:
    low: int
    high: int

    def __contains__(self, count: int) -> bool:
        return self.low <= count <= self.high

    def __add__(self, other: Between) -> Between:
        return Between(self.low + other.low, self.high + other.high)

    def __str__(self) -> str:
        return f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"


def exactly(count: int) -> Between:
    return Between(count, count)


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that could not be read."""

    file_name: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One batch. `contents` are by text, several uploads of one text being one content; `failures` are by upload."""

    batch_id: str
    story: str
    essay_ids: frozenset[str]
    regular: bool
    course: str
    user: str
    correlation_id: UUID
    registered: bool
    confirmed: bool
    overdue: bool  # the deadline is so short that it passes before the end
    contents: Mapping[str, tuple[Upload, ...]]
    failures: Mapping[str, FailedFile]

    @property
    def slots(self) -> int:
        return len(self.essay_ids)

    @property
    def full(self) -> bool:
        """Whether every slot is taken in the end: as many files came as there are slots, readable or not."""
        return self.registered and len(self._uploads) >= self.slots

    @property
    def assigned(self) -> Between:
        """A full batch may have lost a slot to each failure; one that is not full had room for every content."""
        if not self.registered:
            return exactly(0)
        if not self.full:
            return exactly(len(self.contents))
        return Between(max(0, self.slots - len(self.failures)), min(self.slots, len(self.contents)))

    @property
    def _uploads(self) -> set[str]:
        """Each is one slot at most; a text that came under several uploads is one slot, under the first of them."""
        return {uploads[0].upload_id for uploads in self.contents.values()} | self.failures.keys()

    def ready(self, assigned: int) -> bool:
        return self.full and self.regular and self.confirmed and assigned > 0

    @property
    def timeouts(self) -> Between:
        """A batch that fills may do so before its deadline or after; one that does not is told of once."""
        if not (self.overdue and self.registered):
            return exactly(0)
        return Between(0, 1) if self.full else exactly(1)

    def told(self, topic: str) -> Between:
        """How many different events of this batch a topic must hold."""
        if topic == topics.READINESS_TIMEOUT:
            return self.timeouts
        low, high = self._told(topic, self.assigned.low), self._told(topic, self.assigned.high)
        return Between(min(low, high), max(low, high))

    def _told(self, topic: str, assigned: int) -> int:
        match topic:
            case topics.SLOT_ASSIGNED:
                return assigned
            case topics.EXCESS_CONTENT:
                return len(self.contents) - assigned if self.full else 0
            case topics.PROVISIONING_COMPLETED:
                return int(self.full)
            case topics.VALIDATION_ERRORS:
                return int(self.full and assigned < self.slots)
            case topics.ESSAYS_READY:
                return int(self.ready(assigned))
            case _:
                return 0


@dataclass(frozen=True, slots=True)
class Poison:
    """A record that must end as a dead letter; `deliveries` that parked together are buried together, as one."""

    message: Message
    reason: DeadLetterReason
    deliveries: int
    parkable: bool

    @property
    def letters(self) -> Between:
        return Between(1 if self.parkable else self.deliveries, self.deliveries)


@dataclass(frozen=True, slots=True)
class Traffic:
    """`messages` in the order in which to send them, repeats among them."""

    seed: int
    messages: tuple[Message, ...]
    promises: tuple[Expectation, ...]
    poison: tuple[Poison, ...]

    def told(self, topic: str) -> Between:
        if topic == topics.DEAD_LETTER:
            return sum((poison.letters for poison in self.poison), exactly(0))
        return sum((promise.told(topic) for promise in self.promises), exactly(0))

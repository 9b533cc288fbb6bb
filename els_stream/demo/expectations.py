"""The expected events, for any order in which the partitions are read.

The order of arrival decides which content finds its batch full and which upload takes which slot. There an expectation
is a range of counts, as narrow as possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from els_stream.events import topics

if TYPE_CHECKING:
    from uuid import UUID

    from els_stream.demo.messages import DemoUpload, Message
    from els_stream.events.dead_letter_reasons import DeadLetterReason


@dataclass(frozen=True, slots=True)
class CountRange:
    """A range of counts; both bounds are inclusive."""

    low: int
    high: int

    def __contains__(self, count: int) -> bool:
        return self.low <= count <= self.high

    def __add__(self, other: CountRange) -> CountRange:
        return CountRange(self.low + other.low, self.high + other.high)

    def __str__(self) -> str:
        return f"{self.low}" if self.low == self.high else f"{self.low} to {self.high}"


def exactly(count: int) -> CountRange:
    return CountRange(count, count)


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file that could not be read."""

    file_name: str
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """The events to be published for one batch. `contents` are uploads by text id, `failures` are by upload id."""

    batch_id: str
    scenario: str
    essay_ids: frozenset[str]
    regular: bool
    course: str
    user: str
    correlation_id: UUID
    registered: bool
    confirmed: bool
    overdue: bool  # the deadline passes before the demo ends
    contents: Mapping[str, tuple[DemoUpload, ...]]
    failures: Mapping[str, FailedFile]

    @property
    def slots(self) -> int:
        return len(self.essay_ids)

    @property
    def full(self) -> bool:
        """Whether every slot is taken in the end: there are at least as many files as slots, readable or not."""
        return self.registered and len(self._uploads) >= self.slots

    @property
    def assigned(self) -> CountRange:
        """The number of slots that get a content. In a full batch each failure may take a slot from a content."""
        if not self.registered:
            return exactly(0)
        if not self.full:
            return exactly(len(self.contents))
        return CountRange(max(0, self.slots - len(self.failures)), min(self.slots, len(self.contents)))

    @property
    def _uploads(self) -> set[str]:
        """Uploads that take a slot: for a text with several uploads only the first."""
        return {uploads[0].upload_id for uploads in self.contents.values()} | self.failures.keys()

    def ready(self, assigned: int) -> bool:
        """Return whether the batch becomes ready if `assigned` slots get a content."""
        return self.full and self.regular and self.confirmed and assigned > 0

    @property
    def timeouts(self) -> CountRange:
        """The number of timeouts: one for a batch that never fills, at most one for a batch that fills."""
        if not (self.overdue and self.registered):
            return exactly(0)
        return CountRange(0, 1) if self.full else exactly(1)

    def events(self, topic: str) -> CountRange:
        """Return how many different events of this batch the topic must contain."""
        if topic == topics.READINESS_TIMEOUT:
            return self.timeouts
        low, high = self._events(topic, self.assigned.low), self._events(topic, self.assigned.high)
        return CountRange(min(low, high), max(low, high))

    def _events(self, topic: str, assigned: int) -> int:
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
    """A record that must become a dead letter; with `may_wait`, several deliveries may become one together."""

    message: Message
    reason: DeadLetterReason
    deliveries: int
    may_wait: bool

    @property
    def dead_letters(self) -> CountRange:
        return CountRange(1 if self.may_wait else self.deliveries, self.deliveries)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Everything to send, in that order and with repeats, and everything to expect."""

    seed: int
    messages: tuple[Message, ...]
    expectations: tuple[Expectation, ...]
    poison: tuple[Poison, ...]

    def events(self, topic: str) -> CountRange:
        if topic == topics.DEAD_LETTER:
            return sum((poison.dead_letters for poison in self.poison), exactly(0))
        return sum((expectation.events(topic) for expectation in self.expectations), exactly(0))

"""The events that follow from the facts of a batch, and their delivery.

Sent events are not stored: they and their ids can be derived from the batch's facts. This module is the only
place of the rule besides `handlers.outbox_events`, which makes the payloads; a test compares their events.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol

from els_stream.domain.batch import ClassType
from els_stream.events import topics
from els_stream.events.event_ids import event_id, slot_subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID


class DeliveryState(StrEnum):
    """The delivery of an event: acknowledged by the broker, in the outbox, or in the outbox after a failed attempt."""

    PUBLISHED = "published"
    WAITING = "waiting"
    DEFERRED = "deferred"


class ExpectedEvent(NamedTuple):
    """An event that follows from a fact; `at` is the time of the fact. Topic, batch and subject make the event id."""

    at: datetime
    topic: str
    subject: str


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """An event of a batch with its id and its delivery."""

    at: datetime
    topic: str
    subject: str
    event_id: UUID
    delivery: DeliveryState


class UnsentEvent(Protocol):
    """An outbox event."""

    @property
    def event_id(self) -> UUID: ...
    @property
    def next_attempt_at(self) -> datetime | None: ...


class SlotFact(Protocol):
    """A slot that is not free; `text_storage_id` is None where a failure holds it."""

    @property
    def essay_id(self) -> str: ...
    @property
    def text_storage_id(self) -> str | None: ...
    @property
    def taken_at(self) -> datetime: ...


class Excess(Protocol):
    """A content that found the batch full."""

    @property
    def text_storage_id(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...


class BatchFacts(Protocol):
    """The facts of a batch from which its events follow."""

    @property
    def class_type(self) -> str | None: ...
    @property
    def filled(self) -> int: ...
    @property
    def failed(self) -> int: ...
    @property
    def content_completed_at(self) -> datetime | None: ...
    @property
    def completed_at(self) -> datetime | None: ...
    @property
    def timed_out_at(self) -> datetime | None: ...
    @property
    def slots(self) -> Sequence[SlotFact]: ...
    @property
    def excess(self) -> Sequence[Excess]: ...


class BatchWithOutbox(BatchFacts, Protocol):
    """The facts of a batch, and its events that are still in the outbox."""

    @property
    def batch_id(self) -> str: ...
    @property
    def waiting(self) -> Sequence[UnsentEvent]: ...


def expected_events(facts: BatchFacts) -> Iterator[ExpectedEvent]:
    """Yield every event that follows from the facts; those of one instant come in the order of publishing."""
    if facts.timed_out_at is not None:
        yield ExpectedEvent(facts.timed_out_at, topics.READINESS_TIMEOUT, "")
    for slot in facts.slots:
        if slot.text_storage_id is not None:
            subject = slot_subject(slot.essay_id, slot.text_storage_id)
            yield ExpectedEvent(slot.taken_at, topics.SLOT_ASSIGNED, subject)
    if facts.content_completed_at is not None:
        if facts.failed:
            yield ExpectedEvent(facts.content_completed_at, topics.VALIDATION_ERRORS, "")
        yield ExpectedEvent(facts.content_completed_at, topics.PROVISIONING_COMPLETED, "")
    if facts.completed_at is not None and facts.class_type == ClassType.REGULAR and facts.filled:
        yield ExpectedEvent(facts.completed_at, topics.ESSAYS_READY, "")
    for content in facts.excess:
        yield ExpectedEvent(content.created_at, topics.EXCESS_CONTENT, content.text_storage_id)


def published_events(batch: BatchWithOutbox) -> list[PublishedEvent]:
    """Return the events of the batch, by the times of their facts. Events that are not in the outbox were sent."""
    waiting = {event.event_id: event for event in batch.waiting}

    def delivery(identity: UUID) -> DeliveryState:
        if identity not in waiting:
            return DeliveryState.PUBLISHED
        return DeliveryState.WAITING if waiting[identity].next_attempt_at is None else DeliveryState.DEFERRED

    events = []
    for at, topic, subject in sorted(expected_events(batch), key=lambda event: event.at):
        identity = event_id(topic, batch.batch_id, subject)
        events.append(PublishedEvent(at, topic, subject, identity, delivery(identity)))
    return events

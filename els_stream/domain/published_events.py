"""Which events a batch's facts have told, in order, and whether each was sent: what is no longer in the outbox was.

Nothing else remembers an event once it is sent, and nothing needs to: it follows from a fact, and so does its id.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from els_stream.events import topics
from els_stream.events.event_ids import event_id, slot_subject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from uuid import UUID


class DeliveryState(StrEnum):
    SENT = "sent"
    WAITING = "waiting"
    HELD = "held"


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """`at` is when its fact became true."""

    at: datetime
    topic: str
    subject: str
    event_id: UUID
    sending: DeliveryState


class UnsentEvent(Protocol):
    @property
    def event_id(self) -> UUID: ...
    @property
    def held_until(self) -> datetime | None: ...


class SlotFact(Protocol):
    @property
    def essay_id(self) -> str: ...
    @property
    def text_storage_id(self) -> str | None: ...
    @property
    def held_at(self) -> datetime: ...


class Excess(Protocol):
    @property
    def text_storage_id(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...


class BatchFacts(Protocol):
    """The part of a batch's story that events follow from."""

    @property
    def batch_id(self) -> str: ...
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
    @property
    def waiting(self) -> Sequence[UnsentEvent]: ...


def told_events(facts: BatchFacts) -> list[PublishedEvent]:
    """In the order in which they became true, as far as times tell; facts of one instant in the order of telling."""
    waiting = {event.event_id: event for event in facts.waiting}

    def sending(identity: UUID) -> DeliveryState:
        if identity not in waiting:
            return DeliveryState.SENT
        return DeliveryState.WAITING if waiting[identity].held_until is None else DeliveryState.HELD

    events = []
    for at, topic, subject in sorted(_told(facts), key=lambda told: told[0]):
        identity = event_id(topic, facts.batch_id, subject)
        events.append(PublishedEvent(at, topic, subject, identity, sending(identity)))
    return events


def _told(facts: BatchFacts) -> Iterator[tuple[datetime, str, str]]:
    if facts.timed_out_at is not None:
        yield facts.timed_out_at, topics.READINESS_TIMEOUT, ""
    for slot in facts.slots:
        if slot.text_storage_id is not None:
            yield slot.held_at, topics.SLOT_ASSIGNED, slot_subject(slot.essay_id, slot.text_storage_id)
    if facts.content_completed_at is not None:
        if facts.failed:
            yield facts.content_completed_at, topics.VALIDATION_ERRORS, ""
        yield facts.content_completed_at, topics.PROVISIONING_COMPLETED, ""
    if facts.completed_at is not None and facts.class_type == "REGULAR" and facts.filled:
        yield facts.completed_at, topics.ESSAYS_READY, ""
    for text in facts.excess:
        yield text.created_at, topics.EXCESS_CONTENT, text.text_storage_id

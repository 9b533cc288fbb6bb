"""The story of a batch in the order in which it happened, each moment with the events that told it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from els_stream.events import topics
from els_stream.events.event_ids import event_id, slot_subject

if TYPE_CHECKING:
    from uuid import UUID

    from els_stream.queries.batch_detail import BatchDetail, WaitingEvent
    from els_stream.queries.listing import UploadedFile

# A batch may have ten thousand slots: of what filled them the newest are told.
MOST: Final = 500


class MomentKind(StrEnum):
    """In the order in which moments of one instant are told."""

    PARKED = "parked"
    REGISTERED = "registered"
    FILLED = "filled"
    FAILED = "failed"
    EXCESS = "excess"
    DEAD_LETTER = "dead_letter"
    TIMED_OUT = "timed_out"
    CONTENT_COMPLETE = "content_complete"
    ASSOCIATIONS_CONFIRMED = "associations_confirmed"
    COMPLETED = "completed"
    PURGED = "purged"


class Sending(StrEnum):
    SENT = "sent"
    WAITING = "waiting"
    HELD = "held"


_ORDER: Final = {what: place for place, what in enumerate(MomentKind)}
_MANY: Final = {MomentKind.FILLED, MomentKind.FAILED, MomentKind.EXCESS, MomentKind.DEAD_LETTER}


@dataclass(frozen=True, slots=True)
class EventDelivery:
    topic: str
    sending: Sending


@dataclass(frozen=True, slots=True)
class Moment:
    """`subject` is what it happened to: a slot, a text, a reason, or a kind of event."""

    at: datetime
    what: MomentKind
    subject: str | None = None
    file_name: str | None = None
    detail: str | None = None
    told: Sequence[EventDelivery] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """`omitted` is how many older moments of slots, texts and dead letters are left out."""

    moments: Sequence[Moment]
    omitted: int


def timeline(story: BatchDetail, files: Sequence[UploadedFile]) -> Timeline:
    moments = sorted(_Moments(story, files), key=lambda moment: (moment.at, _ORDER[moment.what]))
    omitted = max(0, sum(moment.what in _MANY for moment in moments) - MOST)
    left_out = 0
    kept = []
    for moment in moments:
        if moment.what in _MANY and left_out < omitted:
            left_out += 1
        else:
            kept.append(moment)
    return Timeline(kept, omitted)


class _Moments:
    def __init__(self, story: BatchDetail, files: Sequence[UploadedFile]) -> None:
        self._story = story
        self._files = {file.subject: file for file in files}
        self._waiting: Mapping[UUID, WaitingEvent] = {event.event_id: event for event in story.waiting}

    def __iter__(self) -> Iterator[Moment]:
        yield from self._milestones()
        for slot in self._story.slots:
            yield self._slot(slot.essay_id, slot.text_storage_id, slot.held_at)
        for text in self._story.excess:
            told = [self._told(topics.EXCESS_CONTENT, text.text_storage_id)]
            yield Moment(
                text.created_at, MomentKind.EXCESS, text.text_storage_id, self._name(text.text_storage_id), None, told
            )
        for letter in self._story.dead_letters:
            yield Moment(letter.created_at, MomentKind.DEAD_LETTER, letter.reason, None, f"{letter.id}, {letter.state}")

    def _milestones(self) -> Iterator[Moment]:
        story = self._story
        for kind in story.parked:
            yield Moment(kind.since, MomentKind.PARKED, kind.kind, None, str(kind.events))
        dated = (
            (story.registered_at, MomentKind.REGISTERED, ()),
            (story.timed_out_at, MomentKind.TIMED_OUT, (topics.READINESS_TIMEOUT,)),
            (story.content_completed_at, MomentKind.CONTENT_COMPLETE, self._of_completion()),
            (story.associations_confirmed_at, MomentKind.ASSOCIATIONS_CONFIRMED, ()),
            (story.completed_at, MomentKind.COMPLETED, self._of_readiness()),
            (story.purged_at, MomentKind.PURGED, ()),
        )
        for at, what, told in dated:
            if at is not None:
                yield Moment(at, what, told=[self._told(topic, "") for topic in told])

    def _of_completion(self) -> tuple[str, ...]:
        errors = (topics.VALIDATION_ERRORS,) if self._story.failed else ()
        return (*errors, topics.PROVISIONING_COMPLETED)

    def _of_readiness(self) -> tuple[str, ...]:
        regular = self._story.class_type == "REGULAR" and self._story.filled
        return (topics.ESSAYS_READY,) if regular else ()

    def _slot(self, essay_id: str, text_storage_id: str | None, at: datetime) -> Moment:
        name = self._name(essay_id)
        if text_storage_id is None:
            file = self._files.get(essay_id)
            return Moment(at, MomentKind.FAILED, essay_id, name, file.error_code if file else None)
        told = [self._told(topics.SLOT_ASSIGNED, slot_subject(essay_id, text_storage_id))]
        return Moment(at, MomentKind.FILLED, essay_id, name, text_storage_id, told)

    def _name(self, subject: str) -> str | None:
        file = self._files.get(subject)
        return file.name if file else None

    def _told(self, topic: str, subject: str) -> EventDelivery:
        """What is no longer in the outbox was acknowledged by the broker."""
        event = self._waiting.get(event_id(topic, self._story.batch_id, subject))
        if event is None:
            return EventDelivery(topic, Sending.SENT)
        return EventDelivery(topic, Sending.WAITING if event.next_attempt_at is None else Sending.HELD)

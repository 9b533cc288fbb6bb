"""The timeline of a batch: its moments in order of time, each with the events that follow from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from els_stream.domain.published_events import BatchWithOutbox, DeliveryState, published_events
from els_stream.events import topics
from els_stream.events.event_ids import slot_subject

if TYPE_CHECKING:
    from els_stream.domain.published_events import SlotFact


class MomentKind(StrEnum):
    """The kinds of moments; moments of one instant are sorted in this order."""

    PENDING = "pending"
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


_ORDER: Final = {kind: position for position, kind in enumerate(MomentKind)}
_PER_ITEM: Final = {MomentKind.FILLED, MomentKind.FAILED, MomentKind.EXCESS, MomentKind.DEAD_LETTER}

MOMENT_OF_TOPIC: Final = {
    topics.READINESS_TIMEOUT: MomentKind.TIMED_OUT,
    topics.SLOT_ASSIGNED: MomentKind.FILLED,
    topics.VALIDATION_ERRORS: MomentKind.CONTENT_COMPLETE,
    topics.PROVISIONING_COMPLETED: MomentKind.CONTENT_COMPLETE,
    topics.ESSAYS_READY: MomentKind.COMPLETED,
    topics.EXCESS_CONTENT: MomentKind.EXCESS,
}
"""The moment from which an event follows."""


class PendingEvents(Protocol):
    """Pending events of one kind: their number, and the arrival of the oldest."""

    @property
    def kind(self) -> str: ...
    @property
    def events(self) -> int: ...
    @property
    def since(self) -> datetime: ...


class DeadLetterFact(Protocol):
    """A dead letter of the batch."""

    @property
    def id(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def created_at(self) -> datetime: ...


class FileFact(Protocol):
    """An uploaded file; `subject` is the essay id of its slot, or the text id where it was excess."""

    @property
    def subject(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def error_code(self) -> str | None: ...


class BatchHistory(BatchWithOutbox, Protocol):
    """The facts of a batch that have a time."""

    @property
    def pending(self) -> Sequence[PendingEvents]: ...
    @property
    def registered_at(self) -> datetime | None: ...
    @property
    def associations_confirmed_at(self) -> datetime | None: ...
    @property
    def purged_at(self) -> datetime | None: ...
    @property
    def dead_letters(self) -> Sequence[DeadLetterFact]: ...


@dataclass(frozen=True, slots=True)
class EventDelivery:
    """The topic of an event that follows from a moment, and the delivery state of the event."""

    topic: str
    delivery: DeliveryState


@dataclass(frozen=True, slots=True)
class Moment:
    """A change of the batch; `subject` is its slot, text, dead letter reason or kind of pending event, else None."""

    at: datetime
    kind: MomentKind
    subject: str | None = None
    file_name: str | None = None
    detail: str | None = None
    events: Sequence[EventDelivery] = ()


@dataclass(frozen=True, slots=True)
class Timeline:
    """The moments of a batch; `omitted` counts the older moments of slots, texts and dead letters that are left out."""

    moments: Sequence[Moment]
    omitted: int


def timeline(batch: BatchHistory, files: Sequence[FileFact] = (), limit: int | None = None) -> Timeline:
    """Return the moments in order; of slots, texts and dead letters at most the `limit` newest."""
    moments = sorted(_Moments(batch, files), key=lambda moment: (moment.at, _ORDER[moment.kind]))
    omitted = 0 if limit is None else max(0, sum(moment.kind in _PER_ITEM for moment in moments) - limit)
    left_out = 0
    kept = []
    for moment in moments:
        if moment.kind in _PER_ITEM and left_out < omitted:
            left_out += 1
        else:
            kept.append(moment)
    return Timeline(kept, omitted)


class _Moments:
    def __init__(self, batch: BatchHistory, files: Sequence[FileFact]) -> None:
        self._batch = batch
        self._files = {file.subject: file for file in files}
        self._events: defaultdict[tuple[MomentKind, str], list[EventDelivery]] = defaultdict(list)
        for event in published_events(batch):
            moment = MOMENT_OF_TOPIC[event.topic]
            self._events[moment, event.subject].append(EventDelivery(event.topic, event.delivery))

    def __iter__(self) -> Iterator[Moment]:
        yield from self._milestones()
        for slot in self._batch.slots:
            yield self._slot(slot)
        for content in self._batch.excess:
            text = content.text_storage_id
            events = self._events[MomentKind.EXCESS, text]
            yield Moment(content.created_at, MomentKind.EXCESS, text, self._file_name(text), None, events)
        for dead_letter in self._batch.dead_letters:
            detail = f"{dead_letter.id}, {dead_letter.state}"
            yield Moment(dead_letter.created_at, MomentKind.DEAD_LETTER, dead_letter.reason, None, detail)

    def _milestones(self) -> Iterator[Moment]:
        batch = self._batch
        for pending in batch.pending:
            yield Moment(pending.since, MomentKind.PENDING, pending.kind, None, str(pending.events))
        for at, kind in (
            (batch.registered_at, MomentKind.REGISTERED),
            (batch.timed_out_at, MomentKind.TIMED_OUT),
            (batch.content_completed_at, MomentKind.CONTENT_COMPLETE),
            (batch.associations_confirmed_at, MomentKind.ASSOCIATIONS_CONFIRMED),
            (batch.completed_at, MomentKind.COMPLETED),
            (batch.purged_at, MomentKind.PURGED),
        ):
            if at is not None:
                yield Moment(at, kind, events=self._events[kind, ""])

    def _slot(self, slot: SlotFact) -> Moment:
        name, text = self._file_name(slot.essay_id), slot.text_storage_id
        if text is None:
            file = self._files.get(slot.essay_id)
            return Moment(slot.taken_at, MomentKind.FAILED, slot.essay_id, name, file.error_code if file else None)
        events = self._events[MomentKind.FILLED, slot_subject(slot.essay_id, text)]
        return Moment(slot.taken_at, MomentKind.FILLED, slot.essay_id, name, text, events)

    def _file_name(self, subject: str) -> str | None:
        file = self._files.get(subject)
        return file.name if file else None

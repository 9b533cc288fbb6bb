"""Collects the records of the output topics, each event once. Copies are counted and must have the same bytes."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar
from uuid import UUID

from pydantic import ValidationError

from els_stream.events import topics
from els_stream.events.outbound import (
    OUTPUT_ENVELOPES,
    BatchContentProvisioningCompletedV1,
    BatchEssaysReady,
    BatchReadinessTimeout,
    BatchValidationErrorsV1,
    EssaySlotAssignedV1,
    ExcessContentProvisionedV1,
)

if TYPE_CHECKING:
    from els_stream.events.outbound import OutboundModel
    from els_stream.events.records import RawRecord

DataT = TypeVar("DataT", bound="OutboundModel")


@dataclass(frozen=True, slots=True)
class ObservedEvent(Generic[DataT]):
    """An event and the timestamp of its first copy, in milliseconds."""

    data: DataT
    correlation_id: UUID
    at: int


@dataclass(slots=True)
class ObservedBatch:
    """The events that were published for one batch."""

    assigned: list[ObservedEvent[EssaySlotAssignedV1]] = field(default_factory=list)
    excess: list[ObservedEvent[ExcessContentProvisionedV1]] = field(default_factory=list)
    completed: list[ObservedEvent[BatchContentProvisioningCompletedV1]] = field(default_factory=list)
    ready: list[ObservedEvent[BatchEssaysReady]] = field(default_factory=list)
    errors: list[ObservedEvent[BatchValidationErrorsV1]] = field(default_factory=list)
    timeouts: list[ObservedEvent[BatchReadinessTimeout]] = field(default_factory=list)

    def add(self, data: OutboundModel, correlation_id: UUID, at: int) -> None:
        match data:
            case EssaySlotAssignedV1():
                self.assigned.append(ObservedEvent(data, correlation_id, at))
            case ExcessContentProvisionedV1():
                self.excess.append(ObservedEvent(data, correlation_id, at))
            case BatchContentProvisioningCompletedV1():
                self.completed.append(ObservedEvent(data, correlation_id, at))
            case BatchEssaysReady():
                self.ready.append(ObservedEvent(data, correlation_id, at))
            case BatchValidationErrorsV1():
                self.errors.append(ObservedEvent(data, correlation_id, at))
            case BatchReadinessTimeout():
                self.timeouts.append(ObservedEvent(data, correlation_id, at))
            case _:
                raise TypeError(f"not an output event: {type(data).__name__}")


@dataclass(slots=True)
class Observations:
    """Records of the output topics. `differences` are errors that need no knowledge of what was sent."""

    first: dict[UUID, RawRecord] = field(default_factory=dict)
    sent_at: dict[UUID, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    copies_of: Counter[UUID] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def add(self, record: RawRecord) -> None:
        place = f"{record.topic}/{record.partition}/{record.offset}"
        identity = _identity(record)
        if identity is None:
            self.differences.append(f"{place}: no event id in the headers")
            return
        known = self.first.setdefault(identity, record)
        self.sent_at[identity] = min(record.timestamp, self.sent_at.get(identity, record.timestamp))
        if known is record:
            self.counts[record.topic] += 1
            return
        self.copies_of[identity] += 1
        if (known.topic, known.key, known.value, known.headers) != (
            record.topic,
            record.key,
            record.value,
            record.headers,
        ):
            self.differences.append(f"{place}: event {identity} was published before with other bytes")

    @property
    def copies(self) -> Counter[str]:
        """The number of copies by topic."""
        copies: Counter[str] = Counter()
        for identity, count in self.copies_of.items():
            copies[self.first[identity].topic] += count
        return copies

    def events_by_copies(self) -> Counter[int]:
        """Return how many events have 0, 1, 2 … copies besides their first record."""
        copied = Counter(self.copies_of.values())
        copied[0] = len(self.first) - len(self.copies_of)
        return copied

    def dead_letters(self) -> list[RawRecord]:
        return [record for record in self.first.values() if record.topic == topics.DEAD_LETTER]

    def batches(self) -> tuple[dict[str, ObservedBatch], list[str]]:
        """Return the events by batch id, and a line for each event that is invalid or has a wrong key, id or type."""
        batches: defaultdict[str, ObservedBatch] = defaultdict(ObservedBatch)
        differences: list[str] = []
        for identity, record in self.first.items():
            if record.topic == topics.DEAD_LETTER:
                continue
            try:
                envelope = OUTPUT_ENVELOPES[record.topic].model_validate_json(record.value or b"")
            except ValidationError as error:
                differences.append(
                    f"{record.topic}: event {identity} violates its contract in {error.error_count()} fields"
                )
                continue
            data = envelope.data
            batches[data.batch_id].add(data, envelope.correlation_id, self.sent_at[identity])
            if (envelope.event_id, envelope.event_type) != (identity, record.topic):
                differences.append(f"{record.topic}: event {identity} has another id or type inside")
            if record.key != data.batch_id.encode():
                differences.append(f"{record.topic}: event {identity} of {data.batch_id} has another key")
        return dict(batches), differences


def _identity(record: RawRecord) -> UUID | None:
    """Return the event id: the last such header, as a dead letter has the headers of the original before its own."""
    try:
        return UUID(dict(record.headers)["ce_id"].decode())
    except (KeyError, ValueError):
        return None

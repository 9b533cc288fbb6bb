"""What the output topics said, each event once: copies are counted, and must say the same to the byte."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from uuid import UUID

from pydantic import ValidationError

from els_stream.events import topics
from els_stream.events.outbound import (
    BatchContentProvisioningCompletedV1,
    BatchEssaysReady,
    BatchReadinessTimeout,
    BatchValidationErrorsV1,
    EssaySlotAssignedV1,
    ExcessContentProvisionedV1,
    OutboundEnvelope,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from els_stream.events.outbound import OutboundModel
    from els_stream.events.records import RawRecord

DataT = TypeVar("DataT", bound="OutboundModel")

Envelopes = (
    OutboundEnvelope[EssaySlotAssignedV1]
    | OutboundEnvelope[ExcessContentProvisionedV1]
    | OutboundEnvelope[BatchContentProvisioningCompletedV1]
    | OutboundEnvelope[BatchEssaysReady]
    | OutboundEnvelope[BatchValidationErrorsV1]
    | OutboundEnvelope[BatchReadinessTimeout]
)

_MODELS: Final[Mapping[str, type[Envelopes]]] = {
    topics.SLOT_ASSIGNED: OutboundEnvelope[EssaySlotAssignedV1],
    topics.EXCESS_CONTENT: OutboundEnvelope[ExcessContentProvisionedV1],
    topics.PROVISIONING_COMPLETED: OutboundEnvelope[BatchContentProvisioningCompletedV1],
    topics.ESSAYS_READY: OutboundEnvelope[BatchEssaysReady],
    topics.VALIDATION_ERRORS: OutboundEnvelope[BatchValidationErrorsV1],
    topics.READINESS_TIMEOUT: OutboundEnvelope[BatchReadinessTimeout],
}


@dataclass(frozen=True, slots=True)
class ObservedEvents(Generic[DataT]):
    """An event, and when its first copy was sent (ms)."""

    data: DataT
    correlation_id: UUID
    at: int


@dataclass(slots=True)
class ObservedBatch:
    """All that was told of one batch."""

    assigned: list[ObservedEvents[EssaySlotAssignedV1]] = field(default_factory=list)
    excess: list[ObservedEvents[ExcessContentProvisionedV1]] = field(default_factory=list)
    completed: list[ObservedEvents[BatchContentProvisioningCompletedV1]] = field(default_factory=list)
    ready: list[ObservedEvents[BatchEssaysReady]] = field(default_factory=list)
    errors: list[ObservedEvents[BatchValidationErrorsV1]] = field(default_factory=list)
    timeouts: list[ObservedEvents[BatchReadinessTimeout]] = field(default_factory=list)

    def add(self, data: OutboundModel, correlation_id: UUID, at: int) -> None:
        match data:
            case EssaySlotAssignedV1():
                self.assigned.append(ObservedEvents(data, correlation_id, at))
            case ExcessContentProvisionedV1():
                self.excess.append(ObservedEvents(data, correlation_id, at))
            case BatchContentProvisioningCompletedV1():
                self.completed.append(ObservedEvents(data, correlation_id, at))
            case BatchEssaysReady():
                self.ready.append(ObservedEvents(data, correlation_id, at))
            case BatchValidationErrorsV1():
                self.errors.append(ObservedEvents(data, correlation_id, at))
            case BatchReadinessTimeout():
                self.timeouts.append(ObservedEvents(data, correlation_id, at))
            case _:
                raise TypeError(f"no event of ours: {type(data).__name__}")


@dataclass(slots=True)
class Observations:
    """Grows record by record; `differences` are those that show without knowing what was sent."""

    first: dict[UUID, RawRecord] = field(default_factory=dict)
    sent_at: dict[UUID, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)

    def see(self, record: RawRecord) -> None:
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
        self.copies[record.topic] += 1
        if (known.topic, known.key, known.value, known.headers) != (
            record.topic,
            record.key,
            record.value,
            record.headers,
        ):
            self.differences.append(f"{place}: event {identity} came before and said something else")

    def letters(self) -> list[RawRecord]:
        return [record for record in self.first.values() if record.topic == topics.DEAD_LETTER]

    def tales(self) -> tuple[dict[str, ObservedBatch], list[str]]:
        """By batch, and what could not be read or stood under a key or an id that is not its own."""
        tales: defaultdict[str, ObservedBatch] = defaultdict(ObservedBatch)
        differences: list[str] = []
        for identity, record in self.first.items():
            if record.topic == topics.DEAD_LETTER:
                continue
            try:
                envelope = _MODELS[record.topic].model_validate_json(record.value or b"")
            except ValidationError as error:
                differences.append(f"{record.topic}: event {identity} breaks its contract, {error.error_count()} times")
                continue
            data = envelope.data
            tales[data.batch_id].add(data, envelope.correlation_id, self.sent_at[identity])
            if (envelope.event_id, envelope.event_type) != (identity, record.topic):
                differences.append(f"{record.topic}: event {identity} has another id or type inside")
            if record.key != data.batch_id.encode():
                differences.append(f"{record.topic}: event {identity} of {data.batch_id} has another key")
        return dict(tales), differences


def _identity(record: RawRecord) -> UUID | None:
    """Of a repeated header the last one: a dead letter keeps those of the original before ours."""
    try:
        return UUID(dict(record.headers)["ce_id"].decode())
    except (KeyError, ValueError):
        return None

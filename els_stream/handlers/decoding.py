"""Decodes raw records into events. Pure, so it runs before the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from els_stream.domain.outcomes import Refused
from els_stream.events.batch_id import batch_id_of
from els_stream.events.inbound import (
    BatchEssaysRegistered,
    EssayContentProvisionedV1,
    EssayValidationFailedV1,
    StudentAssociationsConfirmedV1,
)
from els_stream.events.trace_context import traceparent_of
from els_stream.events.violation import ContractViolation
from els_stream.fast_dataclass import fast_dataclass

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from els_stream.events.inbound import Envelope
    from els_stream.events.records import RawRecord

AnyEvent = BatchEssaysRegistered | EssayContentProvisionedV1 | EssayValidationFailedV1 | StudentAssociationsConfirmedV1
Event_co = TypeVar("Event_co", bound=AnyEvent, covariant=True)


@fast_dataclass
class DecodedEvent(Generic[Event_co]):
    """An event with the record that it came in, and the parent of its trace."""

    record: RawRecord
    event: Event_co
    correlation_id: UUID
    event_id: UUID
    traceparent: str | None = None

    @property
    def batch_id(self) -> str:
        return self.event.batch_id

    @property
    def timestamp(self) -> int:
        return self.record.timestamp


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A record that breaks its contract; `batch_id` is None if it cannot be read that far."""

    record: RawRecord
    refusal: Refused
    batch_id: str | None


def decode_record(
    decoder: Callable[[bytes | None], Envelope[Event_co]], record: RawRecord
) -> DecodedEvent[Event_co] | InvalidRecord:
    """Decode the record with `decoder`; a contract violation is returned as an InvalidRecord."""
    try:
        envelope = decoder(record.value)
    except ContractViolation as violation:
        batch_id = batch_id_of(record.topic, record.value)
        return InvalidRecord(record, Refused(violation.reason, violation.message, violation.field), batch_id)
    headers, metadata = record.headers, envelope.metadata
    traceparent = traceparent_of(headers, metadata) if headers or metadata else None
    return DecodedEvent(record, envelope.data, envelope.correlation_id, envelope.event_id, traceparent)

"""A handler whose events have a span each: a child of what the producer sent, and the parent of what goes out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from opentelemetry.trace import SpanKind, Status, StatusCode

from els_stream.events.trace_context import traceparent_of
from els_stream.handlers.decoding import DecodedEvent
from els_stream.handlers.event_handler import unheard
from els_stream.observability.spans import begin, traceparent_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.trace import Span, Tracer
    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.outcomes import Outcome
    from els_stream.events.records import RawRecord
    from els_stream.handlers.event_handler import DecodedRecord, DomainHandler, OnLocked


@dataclass(frozen=True, slots=True)
class TracedHandler:
    """The same handler; each try of a micro-batch has spans of its own, in the same traces."""

    handler: DomainHandler
    tracer: Tracer

    @property
    def name(self) -> str:
        return self.handler.name

    @property
    def topic(self) -> str:
        return self.handler.topic

    def prepare(self, records: Sequence[RawRecord]) -> Sequence[DecodedRecord]:
        return self.handler.prepare(records)

    async def apply(
        self, conn: AsyncConnection, readings: Sequence[DecodedRecord], locked: OnLocked = unheard
    ) -> Sequence[Outcome]:
        spans = [self._begin(reading) for reading in readings]
        try:
            within = [_within(reading, span) for reading, span in zip(readings, spans, strict=True)]
            outcomes = await self.handler.apply(conn, within, locked)
            for span, outcome in zip(spans, outcomes, strict=True):
                span.set_attribute("els.outcome", outcome.label)
        except BaseException as error:
            for span in spans:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        else:
            return outcomes
        finally:
            for span in spans:
                span.end()

    def _begin(self, reading: DecodedRecord) -> Span:
        record = reading.record
        told = reading.traceparent if isinstance(reading, DecodedEvent) else traceparent_of(record.headers, None)
        attributes: dict[str, str | int] = {
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
        }
        if reading.batch_id is not None:
            attributes["els.batch_id"] = reading.batch_id
        return begin(self.tracer, f"process {record.topic}", SpanKind.CONSUMER, told, attributes)


def _within(reading: DecodedRecord, span: Span) -> DecodedRecord:
    """What it causes is told as caused by the span."""
    return replace(reading, traceparent=traceparent_from(span)) if isinstance(reading, DecodedEvent) else reading

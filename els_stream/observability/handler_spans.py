"""Trace spans of handled events: each is a child of the producer's span and the parent of the events it causes."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic

from opentelemetry.trace import SpanKind, Status, StatusCode

from els_stream.events.trace_context import traceparent_of
from els_stream.handlers.decoding import DecodedEvent
from els_stream.handlers.handler import Locked
from els_stream.observability.spans import start_span, traceparent_from

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.trace import Span, Tracer
    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.outcomes import Outcome
    from els_stream.events.records import RawRecord
    from els_stream.handlers.event_handler import DecodedRecord
    from els_stream.handlers.handler import Handler


@dataclass(frozen=True, slots=True)
class TracedLock(Generic[Locked]):
    """The result of the handler's `lock`, with the open spans of its events."""

    spans: Sequence[Span]
    locked: Locked


@dataclass(frozen=True, slots=True)
class TracedHandler(Generic[Locked]):
    """A handler that starts a span for each event; each attempt at a micro-batch has spans of its own."""

    handler: Handler[DecodedRecord, Locked, Outcome]
    tracer: Tracer

    @property
    def name(self) -> str:
        return self.handler.name

    @property
    def topic(self) -> str:
        return self.handler.topic

    def decode(self, records: Sequence[RawRecord]) -> Sequence[DecodedRecord]:
        return self.handler.decode(records)

    async def lock(self, conn: AsyncConnection, decoded: Sequence[DecodedRecord]) -> TracedLock[Locked]:
        spans = [self._start(record) for record in decoded]
        with _failure_ends(spans):
            within = [_within(record, span) for record, span in zip(decoded, spans, strict=True)]
            return TracedLock(spans, await self.handler.lock(conn, within))

    async def apply(self, conn: AsyncConnection, locked: TracedLock[Locked]) -> Sequence[Outcome]:
        with _failure_ends(locked.spans):
            outcomes = await self.handler.apply(conn, locked.locked)
            for span, outcome in zip(locked.spans, outcomes, strict=True):
                span.set_attribute("els.outcome", outcome.label)
        for span in locked.spans:
            span.end()
        return outcomes

    def _start(self, record: DecodedRecord) -> Span:
        raw = record.record
        parent = record.traceparent if isinstance(record, DecodedEvent) else traceparent_of(raw.headers, None)
        attributes: dict[str, str | int] = {
            "messaging.destination.name": raw.topic,
            "messaging.destination.partition.id": str(raw.partition),
            "messaging.kafka.offset": raw.offset,
        }
        if record.batch_id is not None:
            attributes["els.batch_id"] = record.batch_id
        return start_span(self.tracer, f"process {raw.topic}", SpanKind.CONSUMER, parent, attributes)


def _within(record: DecodedRecord, span: Span) -> DecodedRecord:
    """Return the event with the span as the parent of the events that it causes."""
    return replace(record, traceparent=traceparent_from(span)) if isinstance(record, DecodedEvent) else record


@contextmanager
def _failure_ends(spans: Sequence[Span]) -> Iterator[None]:
    """End the spans with an error status if the block raises, also by cancellation."""
    try:
        yield
    except BaseException as error:
        for span in spans:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            span.end()
        raise

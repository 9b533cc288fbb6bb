"""Trace spans of handlers and relay. Without the setting `ELS_TRACING_ENDPOINT` there are none, and they cost nothing.

This module needs OpenTelemetry's API only; sampling and export come with the extra `tracing`.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from els_stream.errors import ConfigurationError
from els_stream.events.headers import decode_headers
from els_stream.events.trace_context import traceparent_of
from els_stream.tasks import in_daemon_thread

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

CLOSE_TIMEOUT_SECONDS: Final = 1.0

log = structlog.get_logger(__name__)

_propagator: Final = TraceContextTextMapPropagator()


class Exporter(Protocol):
    """A provider whose spans leave the process."""

    @property
    def provider(self) -> TracerProvider: ...

    @property
    def given_up(self) -> int:
        """The number of spans that will not leave the process any more."""
        ...

    def shutdown(self) -> None:
        """Send the remaining spans. May block for as long as a server takes to answer."""
        ...

    def abandon(self) -> None:
        """Send no more; the spans that are left count as given up."""
        ...


class SentRow(Protocol):
    """The fields of an outbox event that are in its span."""

    @property
    def topic(self) -> str: ...
    @property
    def headers(self) -> bytes: ...


def start_span(
    tracer: Tracer, name: str, kind: SpanKind, parent: str | None, attributes: Mapping[str, str | int], since: int = 0
) -> Span:
    """Start a span as a child of `parent`, a W3C traceparent, or in a new trace if it is None.

    `since` is the start in nanoseconds since the epoch; 0: now.
    """
    carrier = {} if parent is None else {"traceparent": parent}
    context = _propagator.extract(carrier, Context())
    return tracer.start_span(name, context, kind, {"messaging.system": "kafka", **attributes}, start_time=since or None)


def traceparent_from(span: Span) -> str | None:
    """Return the W3C traceparent of a span; None if its context is invalid."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, set_span_in_context(span, Context()))
    return carrier.get("traceparent")


class SendSpans:
    """Records a span for each acknowledged event of the relay, from the start of its round to the ack."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def record_acks(self, rows: Sequence[SentRow], since: float) -> None:
        """Record a span for each row with a trace context. `since` is the start, by `time.time`."""
        started = round(since * 1e9)
        for row in rows:
            parent = traceparent_of(decode_headers(row.headers), None)
            if parent is None:
                continue
            attributes = {"messaging.destination.name": row.topic}
            start_span(self._tracer, f"send {row.topic}", SpanKind.PRODUCER, parent, attributes, started).end()


def create_exporter(endpoint: str) -> Exporter:
    """Create an exporter to an OTLP/HTTP endpoint. Raises ConfigurationError if the extra is not installed."""
    try:
        module = importlib.import_module("els_stream.observability.span_export")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"ELS_TRACING_ENDPOINT needs els-stream[tracing]: there is no module {error.name}"
        ) from None
    found: Exporter = module.OtlpExporter(endpoint)
    return found


async def shut_down(exporter: Exporter) -> None:
    """Send the remaining spans for at most CLOSE_TIMEOUT_SECONDS, then give them up: they must not delay the stop."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await in_daemon_thread(exporter.shutdown, name="span shutdown")
    exporter.abandon()
    if exporter.given_up:
        log.warning("spans_given_up", spans=exporter.given_up)

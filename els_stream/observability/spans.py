"""Spans, as handlers and relay begin them, and where they go. Without a setting there are none, and no cost of them.

Only OpenTelemetry's API is needed here; what samples and exports comes with the extra `tracing`.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from els_stream.errors import ConfigurationError
from els_stream.events.headers import decode_headers
from els_stream.events.trace_context import traceparent_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

GOODBYE_SECONDS: Final = 1.0

_propagator: Final = TraceContextTextMapPropagator()


class Exporter(Protocol):
    """A provider whose spans leave the process."""

    @property
    def provider(self) -> TracerProvider: ...

    def shutdown(self) -> None:
        """Sends what is left; may block for as long as a server takes to answer."""
        ...


class SentRow(Protocol):
    """The part of an outbox row that a span tells of."""

    @property
    def topic(self) -> str: ...
    @property
    def headers(self) -> bytes: ...


def begin(
    tracer: Tracer, name: str, kind: SpanKind, parent: str | None, attributes: Mapping[str, str | int], since: int = 0
) -> Span:
    """In the trace of `parent`, a traceparent; a trace of its own without one. `since`: nanoseconds, 0 for now."""
    carrier = {} if parent is None else {"traceparent": parent}
    context = _propagator.extract(carrier, Context())
    return tracer.start_span(name, context, kind, {"messaging.system": "kafka", **attributes}, start_time=since or None)


def traceparent_from(span: Span) -> str | None:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, set_span_in_context(span, Context()))
    return carrier.get("traceparent")


class SendSpans:
    """For the relay: a span for each event that the broker has, from the beginning of its pass to the ack."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def acked(self, rows: Sequence[SentRow], since: float) -> None:
        """`since` by `time.time`. Events that belong to no trace have none now either."""
        began = round(since * 1e9)
        for row in rows:
            told = traceparent_of(decode_headers(row.headers), None)
            if told is None:
                continue
            attributes = {"messaging.destination.name": row.topic}
            begin(self._tracer, f"send {row.topic}", SpanKind.PRODUCER, told, attributes, began).end()


def exporter(endpoint: str) -> Exporter:
    """Sends spans there by OTLP over HTTP. Raises ConfigurationError where the extra is not installed."""
    try:
        module = importlib.import_module("els_stream.observability.span_export")
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"ELS_TRACING_ENDPOINT needs els-stream[tracing]: there is no module {error.name}"
        ) from None
    found: Exporter = module.OtlpExporter(endpoint)
    return found


async def say_goodbye(exporter: Exporter) -> None:
    """Gives what is left a moment to leave: spans are no reason to stay."""
    with suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_SECONDS):
            await asyncio.to_thread(exporter.shutdown)

"""An exporter that records spans in memory, and spans of producers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, SpanContext, SpanKind, format_span_id, format_trace_id

from els_stream.observability.spans import traceparent_from
from els_stream.observability.tracing import Tracing

Headers = tuple[tuple[str, bytes], ...]


@dataclass
class RecordedSpans:
    """Replaces the exporter of a worker."""

    provider: TracerProvider = field(default_factory=lambda: TracerProvider(shutdown_on_exit=False))
    memory: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def __post_init__(self) -> None:
        self.provider.add_span_processor(SimpleSpanProcessor(self.memory))

    @property
    def tracing(self) -> Tracing:
        return Tracing(self)

    @contextmanager
    def producer(self, name: str = "upload") -> Iterator[tuple[Span, str]]:
        """Yield a span of another service and its traceparent."""
        span = self.provider.get_tracer("producer").start_span(name, kind=SpanKind.PRODUCER)
        traceparent = traceparent_from(span)
        assert traceparent is not None
        yield span, traceparent
        span.end()

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.memory.get_finished_spans() if span.name == name]

    def span(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span

    @property
    def given_up(self) -> int:
        return 0

    def shutdown(self) -> None:
        self.provider.shutdown()

    def abandon(self) -> None:
        """Do nothing: no span waits."""


def place(span: ReadableSpan | Span) -> str:
    """Return the traceparent of the span."""
    context = span.get_span_context()
    assert context is not None
    return _named(context)


def parent(span: ReadableSpan) -> str | None:
    return span.parent and _named(span.parent)


def _named(context: SpanContext) -> str:
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{context.trace_flags:02x}"

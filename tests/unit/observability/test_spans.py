from __future__ import annotations

import sys
from uuid import UUID

import pytest
from opentelemetry.trace import SpanKind

from els_stream.errors import ConfigurationError
from els_stream.events.headers import encode_headers
from els_stream.observability.spans import SendSpans, create_exporter, start_span, traceparent_from
from els_stream.queries.outbox_rows import WaitingRow
from tests.support.span_exporter import RecordedSpans, parent, place

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def row(*headers: tuple[str, bytes]) -> WaitingRow:
    return WaitingRow(0, "batch", UUID(int=1), "topic", None, None, encode_headers(headers), 0)


def test_an_endpoint_without_the_extra_is_a_configuration_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "els_stream.observability.span_export", None)

    with pytest.raises(ConfigurationError, match=r"ELS_TRACING_ENDPOINT needs els-stream\[tracing\]"):
        create_exporter("http://127.0.0.1:4318/v1/traces")


def test_only_an_acked_event_with_a_trace_has_a_span_from_the_start_of_its_round() -> None:
    recorded = RecordedSpans()
    spans = SendSpans(recorded.provider.get_tracer("relay"))

    spans.record_acks([row(("traceparent", TRACE.encode())), row(("event_type", b"topic"))], 1_764_000_000.0)

    sent = recorded.span("send topic")
    assert (parent(sent), sent.start_time) == (TRACE, 1_764_000_000 * 10**9)
    assert (sent.end_time or 0) > 1_764_000_000 * 10**9


@pytest.mark.parametrize("traceparent", [None, "00-" + "0" * 32 + "-" + "b" * 16 + "-01"])
def test_a_span_without_a_valid_parent_starts_a_trace(traceparent: str | None) -> None:
    recorded = RecordedSpans()

    span = start_span(recorded.provider.get_tracer("handler"), "process", SpanKind.CONSUMER, traceparent, {})
    span.end()

    assert parent(recorded.span("process")) is None
    assert traceparent_from(span) == place(span)

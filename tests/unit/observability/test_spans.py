from __future__ import annotations

import sys
from uuid import UUID

import pytest
from opentelemetry.trace import SpanKind

from els_stream.errors import ConfigurationError
from els_stream.events.headers import encode_headers
from els_stream.observability.spans import SendSpans, begin, exporter, traceparent_from
from els_stream.queries.outbox import WaitingRow
from tests.support.span_exporter import RecordedSpans, parent, place

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


def row(*headers: tuple[str, bytes]) -> WaitingRow:
    return WaitingRow(0, "batch", UUID(int=1), "topic", None, None, encode_headers(headers), 0)


def test_an_endpoint_without_the_extra_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "els_stream.observability.span_export", None)

    with pytest.raises(ConfigurationError, match=r"ELS_TRACING_ENDPOINT needs els-stream\[tracing\]"):
        exporter("http://127.0.0.1:4318/v1/traces")


def test_an_acked_event_has_a_span_from_the_beginning_of_its_pass_and_one_without_a_trace_has_none() -> None:
    kept = RecordedSpans()
    spans = SendSpans(kept.provider.get_tracer("relay"))

    spans.acked([row(("traceparent", TRACE.encode())), row(("event_type", b"topic"))], 1_764_000_000.0)

    sent = kept.span("send topic")
    assert (parent(sent), sent.start_time) == (TRACE, 1_764_000_000 * 10**9)
    assert (sent.end_time or 0) > 1_764_000_000 * 10**9


@pytest.mark.parametrize("told", [None, "00-" + "0" * 32 + "-" + "b" * 16 + "-01"])
def test_a_span_without_a_legal_parent_begins_a_trace(told: str | None) -> None:
    kept = RecordedSpans()

    span = begin(kept.provider.get_tracer("handler"), "process", SpanKind.CONSUMER, told, {})
    span.end()

    assert parent(kept.span("process")) is None
    assert traceparent_from(span) == place(span)

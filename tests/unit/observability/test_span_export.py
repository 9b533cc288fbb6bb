"""Spans that wait for their export: which are sent, and which are given up."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from els_stream.observability import span_export
from els_stream.observability.span_export import SpanQueue
from els_stream.tasks import in_daemon_thread
from tests.support.waiting import until


class Collector(SpanExporter):
    """Answers with `result`, once `answering` is set."""

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS, *, silent: bool = False) -> None:
        self.result = result
        self.asked, self.answering = threading.Event(), threading.Event()
        self.received: list[str] = []
        if not silent:
            self.answering.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.answering.wait()
        self.received += [span.name for span in spans]
        return self.result


@pytest.fixture
def silent() -> Iterator[Collector]:
    collector = Collector(silent=True)
    yield collector
    collector.answering.set()


def end_spans(queue: SpanQueue, *names: str) -> None:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    for name in names:
        provider.get_tracer("test").start_span(name).end()


async def test_shutdown_exports_all_spans_in_order() -> None:
    collector = Collector()
    queue = SpanQueue(collector)
    end_spans(queue, "first", "second", "third")

    queue.shutdown()
    queue.abandon()

    assert (collector.received, queue.given_up) == (["first", "second", "third"], 0)


async def test_spans_that_the_collector_refuses_are_given_up() -> None:
    queue = SpanQueue(Collector(SpanExportResult.FAILURE))
    end_spans(queue, "first", "second")

    queue.shutdown()

    assert queue.given_up == 2


async def test_spans_that_find_the_queue_full_are_given_up(silent: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_export, "MAX_EXPORT_SPANS", 1)
    monkeypatch.setattr(span_export, "MAX_WAITING_SPANS", 2)
    queue = SpanQueue(silent)
    end_spans(queue, "in flight")
    await until(silent.asked.is_set)

    end_spans(queue, "waits", "waits too", "finds it full")

    assert queue.given_up == 1


async def test_spans_that_are_left_at_the_end_are_given_up(silent: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_export, "MAX_EXPORT_SPANS", 1)
    queue = SpanQueue(silent)
    end_spans(queue, "in flight", "waits")
    await until(silent.asked.is_set)

    queue.abandon()

    assert queue.given_up == 2


async def test_an_exporter_that_raises_ends_no_export() -> None:
    class Broken(Collector):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            super().export(spans)
            raise ValueError("a bug of the exporter")

    queue = SpanQueue(Broken())
    end_spans(queue, "first")

    await in_daemon_thread(queue.shutdown, name="shutdown")

    assert queue.given_up == 1

"""Export of trace spans; the only module that needs the extra `tracing`. The SDK reads OTEL_* variables itself."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from typing_extensions import override

from els_stream.events.outbound import SOURCE_SERVICE
from els_stream.version import VERSION

log = logging.getLogger(__name__)

EXPORT_TIMEOUT_SECONDS: Final = 2
EXPORT_INTERVAL_SECONDS: Final = 5.0
MAX_EXPORT_SPANS: Final = 512
MAX_WAITING_SPANS: Final = 2048


class OtlpExporter:
    """Exports spans in batches from a daemon thread; counts those that the collector did not accept."""

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create({"service.name": SOURCE_SERVICE, "service.version": VERSION})
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._queue = SpanQueue(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_SECONDS))
        self.provider.add_span_processor(self._queue)

    @property
    def given_up(self) -> int:
        return self._queue.given_up

    def shutdown(self) -> None:
        self.provider.shutdown()

    def abandon(self) -> None:
        self._queue.abandon()


class SpanQueue(SpanProcessor):
    """Ended spans that wait for their export.

    The SDK's BatchSpanProcessor does not say how many spans it dropped and left. Spans end in one thread, and another
    one exports, so that each counter is written by one thread only.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._waiting: deque[ReadableSpan] = deque()
        self._wake = threading.Event()
        self._ended = self._full = self._accepted = self._refused = 0
        self._stopping = self._abandoned = False
        self._thread = threading.Thread(target=self._export, name="span export", daemon=True)
        self._thread.start()

    @property
    def given_up(self) -> int:
        """The number of spans that found the queue full or were not accepted; after `abandon` also of those left."""
        return self._ended - self._accepted if self._abandoned else self._full + self._refused

    @override
    def on_end(self, span: ReadableSpan) -> None:
        if span.context is None or not span.context.trace_flags.sampled:
            return
        self._ended += 1
        if self._stopping or len(self._waiting) >= MAX_WAITING_SPANS:
            self._full += 1
            return
        self._waiting.append(span)
        if len(self._waiting) >= MAX_EXPORT_SPANS:
            self._wake.set()

    @override
    def shutdown(self) -> None:
        """Export what waits. Blocks until that is done."""
        self._stopping = True
        self._wake.set()
        self._thread.join()
        self._exporter.shutdown()

    def abandon(self) -> None:
        """Export no more; the spans that are left, also those of the export in flight, count as given up."""
        self._abandoned = True

    def _export(self) -> None:
        stopping = False
        while not stopping:
            self._wake.wait(EXPORT_INTERVAL_SECONDS)
            self._wake.clear()
            stopping = self._stopping
            while self._waiting and not self._abandoned:
                self._export_some()

    def _export_some(self) -> None:
        spans = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_EXPORT_SPANS))]
        try:
            accepted = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:
            accepted = False
            log.exception("the export of spans failed")
        if accepted:
            self._accepted += len(spans)
        else:
            self._refused += len(spans)

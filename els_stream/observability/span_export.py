"""Export of trace spans; the only module that needs the extra `tracing`. The SDK reads OTEL_* variables itself."""

from __future__ import annotations

from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from els_stream.events.outbound import SOURCE_SERVICE
from els_stream.version import VERSION

# If the collector does not answer, spans are lost: they must not delay the stop of the worker.
EXPORT_TIMEOUT_SECONDS: Final = 2


class OtlpExporter:
    """Exports spans in batches from a background thread; loses those that the collector does not accept."""

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create({"service.name": SOURCE_SERVICE, "service.version": VERSION})
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=EXPORT_TIMEOUT_SECONDS))
        )

    def shutdown(self) -> None:
        self.provider.shutdown()

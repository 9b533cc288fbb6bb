"""Where spans leave: the one module that needs the extra `tracing`. OTEL_TRACES_SAMPLER and its like are obeyed."""

from __future__ import annotations

from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from els_stream.events.outbound import SOURCE_SERVICE
from els_stream.version import VERSION

# A collector that hangs costs spans, never the worker's stop.
_ANSWER_SECONDS: Final = 2


class OtlpExporter:
    """Collects in the background and sends in batches; drops what a collector that is away does not take."""

    def __init__(self, endpoint: str) -> None:
        resource = Resource.create({"service.name": SOURCE_SERVICE, "service.version": VERSION})
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self.provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_ANSWER_SECONDS))
        )

    def shutdown(self) -> None:
        self.provider.shutdown()

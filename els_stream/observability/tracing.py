"""Tracing of a worker: wraps handlers and the relay's ack callback if the setting is on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from els_stream.observability.handler_spans import TracedHandler
from els_stream.observability.spans import Exporter, SendSpans, create_exporter, shut_down
from els_stream.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.config.settings import Settings
    from els_stream.handlers.event_handler import DomainHandler
    from els_stream.queries.outbox_rows import WaitingRow
    from els_stream.relay.options import OnAck


@dataclass(frozen=True, slots=True)
class Tracing:
    """The wrappers; without an exporter they return their argument unchanged."""

    exporter: Exporter | None

    @classmethod
    def from_settings(cls, settings: Settings) -> Tracing:
        """Create the exporter if ELS_TRACING_ENDPOINT is set. Raises ConfigurationError without the extra."""
        return cls(None if settings.tracing_endpoint is None else create_exporter(settings.tracing_endpoint))

    def wrap_handler(self, handler: DomainHandler) -> DomainHandler:
        """Return a handler that starts a span for each event."""
        if self.exporter is None:
            return handler
        return TracedHandler(handler, self.exporter.provider.get_tracer("els_stream", VERSION))

    def wrap_on_ack(self, on_ack: OnAck) -> OnAck:
        """Return a callback that calls `on_ack` and records a span for each row."""
        if self.exporter is None:
            return on_ack
        spans = SendSpans(self.exporter.provider.get_tracer("els_stream", VERSION))

        def both(rows: Sequence[WaitingRow], since: float) -> None:
            on_ack(rows, since)
            spans.record_acks(rows, since)

        return both

    def given_up(self) -> int:
        """Return how many spans the collector did not accept so far."""
        return 0 if self.exporter is None else self.exporter.given_up

    async def stop(self) -> None:
        """Send the remaining spans, for a limited time."""
        if self.exporter is not None:
            await shut_down(self.exporter)

"""Whether this worker traces, and what it puts around handlers and acks if it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from els_stream.observability.handler_spans import TracedHandler
from els_stream.observability.spans import Exporter, SendSpans, exporter, say_goodbye
from els_stream.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.config.settings import Settings
    from els_stream.handlers.event_handler import DomainHandler
    from els_stream.queries.outbox import WaitingRow
    from els_stream.relay.options import OnAck


@dataclass(frozen=True, slots=True)
class Tracing:
    """Without an exporter everything is given back as it came."""

    exporter: Exporter | None

    @classmethod
    def of(cls, settings: Settings) -> Tracing:
        return cls(None if settings.tracing_endpoint is None else exporter(settings.tracing_endpoint))

    def of_handler(self, handler: DomainHandler) -> DomainHandler:
        if self.exporter is None:
            return handler
        return TracedHandler(handler, self.exporter.provider.get_tracer("els_stream", VERSION))

    def of_acks(self, on_ack: OnAck) -> OnAck:
        if self.exporter is None:
            return on_ack
        spans = SendSpans(self.exporter.provider.get_tracer("els_stream", VERSION))

        def both(rows: Sequence[WaitingRow], since: float) -> None:
            on_ack(rows, since)
            spans.acked(rows, since)

        return both

    async def stop(self) -> None:
        if self.exporter is not None:
            await say_goodbye(self.exporter)

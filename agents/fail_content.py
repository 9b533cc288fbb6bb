"""Consumes uploads that failed validation."""

from __future__ import annotations

from collections.abc import Mapping

from els_stream.consumer.service import ConsumerService
from els_stream.handlers.event_handler import DomainHandler


async def fail_content(consumer: ConsumerService, handlers: Mapping[str, DomainHandler]) -> None:
    """Let the failed upload take a free slot of its batch, for which no content will come.

    A later content of the same upload takes the slot over while the batch is open. A batch whose slots all failed is
    completed without being ready. Before the registration the event becomes a pending event.
    """
    await consumer.run(handlers["fail_content"])

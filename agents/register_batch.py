"""Class sets that the orchestrator registers."""

from __future__ import annotations

from collections.abc import Mapping

from els_stream.consumer.service import ConsumerService
from els_stream.handlers.event_handler import DomainHandler


async def register_batch(intake: ConsumerService, handlers: Mapping[str, DomainHandler]) -> None:
    """Unreadable or conflicting: dead letter. Servers away: retried in place. Unforeseen: one by one, then held."""
    await intake.run(handlers["register_batch"])

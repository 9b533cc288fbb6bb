"""Consumes batch registrations, which the orchestrator sends."""

from __future__ import annotations

from collections.abc import Mapping

from els_stream.consumer.service import ConsumerService
from els_stream.handlers.event_handler import DomainHandler


async def register_batch(consumer: ConsumerService, handlers: Mapping[str, DomainHandler]) -> None:
    """Open the batch with one free slot per expected essay, and apply the pending events that came before it.

    An equal registration changes nothing; a different one, or one of a purged batch, becomes a dead letter.
    """
    await consumer.run(handlers["register_batch"])

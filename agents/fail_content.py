"""Uploads that failed validation."""

from __future__ import annotations

from collections.abc import Mapping

from els_stream.consumer.service import ConsumerService
from els_stream.handlers.event_handler import DomainHandler


async def fail_content(intake: ConsumerService, handlers: Mapping[str, DomainHandler]) -> None:
    """Unreadable or refused: dead letter. Servers away: retried in place. Unforeseen: one by one, then held."""
    await intake.run(handlers["fail_content"])

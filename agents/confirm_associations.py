"""Students whom a teacher, a rule or a time-out confirmed."""

from __future__ import annotations

from collections.abc import Mapping

from els_stream.consumer.service import ConsumerService
from els_stream.handlers.event_handler import DomainHandler


async def confirm_associations(intake: ConsumerService, handlers: Mapping[str, DomainHandler]) -> None:
    """Unreadable or refused: dead letter. Servers away: retried in place. Unforeseen: one by one, then held."""
    await intake.run(handlers["confirm_associations"])

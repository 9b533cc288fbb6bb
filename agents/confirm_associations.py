"""Consumes associations of students with essays, confirmed by a teacher, a rule or a time-out."""

from __future__ import annotations

from collections.abc import Mapping

from els_stream.consumer.service import ConsumerService
from els_stream.handlers.event_handler import DomainHandler


async def confirm_associations(consumer: ConsumerService, handlers: Mapping[str, DomainHandler]) -> None:
    """Store the associations and confirm the batch, which is ready once its content is complete too.

    For one essay a human's association takes precedence, then the later one. Associations of a GUEST batch, another
    class or unknown essays become dead letters. Before the registration the event becomes a pending event.
    """
    await consumer.run(handlers["confirm_associations"])

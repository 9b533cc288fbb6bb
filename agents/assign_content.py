"""Consumes contents that the file service has extracted from uploads."""

from __future__ import annotations

from collections.abc import Mapping

from els_stream.consumer.service import ConsumerService
from els_stream.handlers.event_handler import DomainHandler


async def assign_content(consumer: ConsumerService, handlers: Mapping[str, DomainHandler]) -> None:
    """Assign the content to a free slot of its batch, or publish it as excess; the last slot completes the content.

    A content that was assigned or excess before changes nothing. Before the registration it becomes a pending event.
    """
    await consumer.run(handlers["assign_content"])

"""The handlers of the service, one per input topic, with what settings say bound in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from els_stream.events import decoder, topics
from els_stream.handlers.batch_events import (
    BatchEventPolicy,
    admit,
    assign_contents,
    associations_arrival,
    failure_arrival,
)
from els_stream.handlers.event_handler import EventHandler
from els_stream.handlers.recount import PendingRecounts, RepairCounts
from els_stream.handlers.registration import RegistrationPolicy, register

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.config.settings import Settings
    from els_stream.domain.outcomes import Outcome
    from els_stream.events.inbound import (
        BatchEssaysRegistered,
        EssayContentProvisionedV1,
        EssayValidationFailedV1,
        StudentAssociationsConfirmedV1,
    )
    from els_stream.handlers.decoding import DecodedEvent
    from els_stream.handlers.event_handler import DomainHandler, OnLocked


@dataclass(frozen=True, slots=True)
class HandlerPolicy:
    """What settings say to the handlers."""

    registration: RegistrationPolicy
    arrivals: BatchEventPolicy


def policy_of(settings: Settings, heals: RepairCounts | None = None) -> HandlerPolicy:
    """`heals` counts what was found ill and set right."""
    return HandlerPolicy(
        RegistrationPolicy(settings.strategy, timedelta(hours=settings.batch_deadline_hours)),
        BatchEventPolicy(
            settings.strategy,
            settings.use_advisory_locks_for_assignment,
            settings.max_pending_per_batch,
            PendingRecounts(heals or RepairCounts()),
        ),
    )


def make_handlers(policy: HandlerPolicy) -> dict[str, DomainHandler]:
    """The handlers by name."""

    async def register_batch(
        conn: AsyncConnection, incoming: Sequence[DecodedEvent[BatchEssaysRegistered]], locked: OnLocked
    ) -> list[Outcome]:
        return await register(conn, incoming, policy.registration, locked)

    async def assign_content(
        conn: AsyncConnection, incoming: Sequence[DecodedEvent[EssayContentProvisionedV1]], locked: OnLocked
    ) -> list[Outcome]:
        return await assign_contents(conn, incoming, policy.arrivals, locked)

    async def fail_content(
        conn: AsyncConnection, incoming: Sequence[DecodedEvent[EssayValidationFailedV1]], locked: OnLocked
    ) -> list[Outcome]:
        return await admit(conn, [failure_arrival(i) for i in incoming], policy.arrivals, locked)

    async def confirm_associations(
        conn: AsyncConnection, incoming: Sequence[DecodedEvent[StudentAssociationsConfirmedV1]], locked: OnLocked
    ) -> list[Outcome]:
        return await admit(conn, [associations_arrival(i) for i in incoming], policy.arrivals, locked)

    handlers: list[DomainHandler] = [
        EventHandler("register_batch", topics.BATCH_REGISTERED, decoder.read_registration, register_batch),
        EventHandler("assign_content", topics.CONTENT_PROVISIONED, decoder.read_content, assign_content),
        EventHandler("fail_content", topics.VALIDATION_FAILED, decoder.read_failure, fail_content),
        EventHandler(
            "confirm_associations", topics.ASSOCIATIONS_CONFIRMED, decoder.read_associations, confirm_associations
        ),
    ]
    return {handler.name: handler for handler in handlers}

"""The handlers of the service, one per input topic, and the policy that they take from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from els_stream.events import decoder, topics
from els_stream.handlers.batch_events import (
    BatchEventPolicy,
    BatchEventProcessor,
    as_confirmation,
    as_content,
    as_failed_upload,
)
from els_stream.handlers.event_handler import EventHandler
from els_stream.handlers.recount import PendingRecounts, RepairCounts
from els_stream.handlers.registration import RegistrationPolicy, RegistrationProcessor

if TYPE_CHECKING:
    from els_stream.config.settings import Settings
    from els_stream.handlers.event_handler import DomainHandler


@dataclass(frozen=True, slots=True)
class HandlerPolicy:
    """The policies of the handlers, taken from the settings."""

    registration: RegistrationPolicy
    batch_events: BatchEventPolicy

    @classmethod
    def from_settings(cls, settings: Settings) -> HandlerPolicy:
        return cls(
            RegistrationPolicy(settings.strategy, timedelta(hours=settings.batch_deadline_hours)),
            BatchEventPolicy(
                settings.strategy, settings.use_advisory_locks_for_assignment, settings.max_pending_per_batch
            ),
        )


def make_handlers(policy: HandlerPolicy, repairs: RepairCounts | None = None) -> dict[str, DomainHandler]:
    """Return the handlers by name. They count in `repairs` the batches whose counters they found wrong."""
    recounts = PendingRecounts(repairs or RepairCounts())
    contents = BatchEventProcessor(policy.batch_events, recounts, as_content)
    failures = BatchEventProcessor(policy.batch_events, recounts, as_failed_upload)
    associations = BatchEventProcessor(policy.batch_events, recounts, as_confirmation)
    registrations = RegistrationProcessor(policy.registration)
    handlers: list[DomainHandler] = [
        EventHandler("register_batch", topics.BATCH_REGISTERED, decoder.decode_registration, registrations),
        EventHandler("assign_content", topics.CONTENT_PROVISIONED, decoder.decode_content, contents),
        EventHandler("fail_content", topics.VALIDATION_FAILED, decoder.decode_failure, failures),
        EventHandler("confirm_associations", topics.ASSOCIATIONS_CONFIRMED, decoder.decode_associations, associations),
    ]
    return {handler.name: handler for handler in handlers}

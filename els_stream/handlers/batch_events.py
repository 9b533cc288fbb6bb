"""The processing of contents, failed uploads and student associations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlalchemy.exc import IntegrityError

from els_stream.domain.batch import Confirmation, Content, FailedUpload
from els_stream.errors import InventoryMismatch
from els_stream.handlers.assignment import apply_events, uploads_of
from els_stream.handlers.decoding import AnyEvent
from els_stream.queries import trackers
from els_stream.queries.claims import lock_contents

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.batch import BatchEvent
    from els_stream.domain.claim_strategy import Strategy
    from els_stream.domain.outcomes import Outcome
    from els_stream.events.inbound import (
        EssayContentProvisionedV1,
        EssayValidationFailedV1,
        StudentAssociationsConfirmedV1,
    )
    from els_stream.handlers.decoding import DecodedEvent
    from els_stream.handlers.recount import PendingRecounts
    from els_stream.queries.trackers import LockedBatches

EventT = TypeVar("EventT", bound=AnyEvent)


@dataclass(frozen=True, slots=True)
class BatchEventPolicy:
    """The claim strategy and its locks, and the maximum number of pending events of one batch."""

    strategy: Strategy
    advisory_locks: bool
    max_pending: int


def as_content(decoded: DecodedEvent[EssayContentProvisionedV1]) -> Content:
    return Content(decoded.event, decoded.correlation_id, decoded)


def as_failed_upload(decoded: DecodedEvent[EssayValidationFailedV1]) -> FailedUpload:
    return FailedUpload(decoded.event, decoded.correlation_id, decoded)


def as_confirmation(decoded: DecodedEvent[StudentAssociationsConfirmedV1]) -> Confirmation:
    return Confirmation(decoded.event, decoded.event_id, decoded)


class BatchEventProcessor(Generic[EventT]):
    """Applies events of one kind to their batches, or stores them as pending until the batch registers."""

    def __init__(
        self,
        policy: BatchEventPolicy,
        recounts: PendingRecounts,
        as_batch_event: Callable[[DecodedEvent[EventT]], BatchEvent],
    ) -> None:
        self._policy = policy
        self._recounts = recounts
        self._as_batch_event = as_batch_event

    async def lock(
        self, conn: AsyncConnection, events: Sequence[DecodedEvent[EventT]], also: Collection[str]
    ) -> LockedBatches:
        """Take the advisory locks of the contents first, where these are on, then the tracker rows."""
        batch_events = [self._as_batch_event(event) for event in events]
        if self._policy.advisory_locks:
            await lock_contents(
                conn, [(event.event.batch_id, event.text_id or event.pending_key.subject) for event in batch_events]
            )
        return await trackers.lock(conn, {event.batch_id for event in events}.union(also), uploads_of(batch_events))

    async def apply(
        self, conn: AsyncConnection, batches: LockedBatches, events: Sequence[DecodedEvent[EventT]]
    ) -> list[Outcome]:
        """Apply the events in order; a content that holds a slot afterwards has a `HoldsSlot` outcome.

        The next attempt first recounts the batches of an InventoryMismatch, or all of these batches if a unique index
        refused a slot: their counters may disagree with their rows.
        """
        policy = self._policy
        await self._recounts.run(conn, batches, policy.strategy)
        batch_events = [self._as_batch_event(event) for event in events]
        try:
            return await apply_events(conn, batches, batch_events, policy.strategy, policy.max_pending)
        except InventoryMismatch as mismatch:
            self._recounts.add(mismatch.batch_ids)
            raise
        except IntegrityError:
            self._recounts.add(batches)
            raise

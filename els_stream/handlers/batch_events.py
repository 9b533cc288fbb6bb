"""What arrives for a batch, from whichever topic: parked, refused or admitted, by the state of the locked row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from sqlalchemy.exc import IntegrityError

from els_stream.domain.batch import BatchState, Confirmation, Content, FailedUpload
from els_stream.domain.outcomes import AlreadyPending, Refused, StoredAsPending, another_text
from els_stream.errors import InventoryMismatch
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.failpoints import Failpoint, failpoint
from els_stream.fast_dataclass import fast_dataclass
from els_stream.handlers.assignment import apply_events
from els_stream.handlers.decoding import AnyEvent
from els_stream.queries import pending_events, trackers
from els_stream.queries.claims import lock_contents
from els_stream.queries.pending_events import PendingEvent, PendingKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.batch import Payload
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

_ADMITTING = frozenset({BatchState.OPEN, BatchState.CONTENT_COMPLETE, BatchState.COMPLETED})


@dataclass(frozen=True, slots=True)
class BatchEventPolicy:
    """`strategy` and `advisory_locks` say how slots are claimed; at most `max_parked` events wait for one batch."""

    strategy: Strategy
    advisory_locks: bool
    max_parked: int


@fast_dataclass
class BatchEvent:
    """What came for a batch, and the form in which it parks if it came too early."""

    parkable: PendingEvent
    payload: Payload

    @property
    def batch_id(self) -> str:
        return self.parkable.batch_id

    @property
    def text_id(self) -> str | None:
        return self.payload.event.text_storage_id if isinstance(self.payload, Content) else None


def content_arrival(incoming: DecodedEvent[EssayContentProvisionedV1]) -> BatchEvent:
    event = incoming.event
    return BatchEvent(
        PendingEvent(event.batch_id, PendingKind.CONTENT, event.file_upload_id, incoming.record),
        Content(event, incoming.correlation_id, incoming),
    )


def failure_arrival(incoming: DecodedEvent[EssayValidationFailedV1]) -> BatchEvent:
    event = incoming.event
    return BatchEvent(
        PendingEvent(event.batch_id, PendingKind.FAILURE, event.file_upload_id, incoming.record),
        FailedUpload(event, incoming.correlation_id, incoming),
    )


def associations_arrival(incoming: DecodedEvent[StudentAssociationsConfirmedV1]) -> BatchEvent:
    subject = str(incoming.event_id)
    return BatchEvent(
        PendingEvent(incoming.event.batch_id, PendingKind.ASSOCIATIONS, subject, incoming.record),
        Confirmation(incoming.event, incoming),
    )


class BatchEventProcessor(Generic[EventT]):
    """Applies contents, failed uploads or associations to their batches, or keeps them until the batch registers."""

    def __init__(
        self,
        policy: BatchEventPolicy,
        recounts: PendingRecounts,
        as_batch_event: Callable[[DecodedEvent[EventT]], BatchEvent],
    ) -> None:
        self._policy = policy
        self._recounts = recounts
        self._as_batch_event = as_batch_event

    async def lock(self, conn: AsyncConnection, events: Sequence[DecodedEvent[EventT]]) -> LockedBatches:
        if self._policy.advisory_locks:
            arrivals = [self._as_batch_event(event) for event in events]
            await lock_contents(conn, [(a.batch_id, a.text_id or a.parkable.subject) for a in arrivals])
        return await trackers.lock(conn, {event.batch_id for event in events})

    async def apply(
        self, conn: AsyncConnection, batches: LockedBatches, events: Sequence[DecodedEvent[EventT]]
    ) -> list[Outcome]:
        """Apply the events in order; one that holds a slot afterwards has a `HoldsSlot` outcome.

        After an InventoryMismatch its batches, and after a slot that a unique index refuses all of these batches, are
        recounted at the beginning of the next attempt: their rows may know what their counters do not.
        """
        await self._recounts.resolve(conn, batches, self._policy.strategy)
        try:
            return await _admit(conn, batches, [self._as_batch_event(event) for event in events], self._policy)
        except InventoryMismatch as mismatch:
            self._recounts.note(mismatch.batch_ids)
            raise
        except IntegrityError:
            self._recounts.note(batches)
            raise


async def _admit(
    conn: AsyncConnection, batches: LockedBatches, arrivals: Sequence[BatchEvent], policy: BatchEventPolicy
) -> list[Outcome]:
    if all(batch.state in _ADMITTING for batch in batches.values()):
        return await apply_events(conn, batches, [(a.batch_id, a.payload) for a in arrivals], policy.strategy)
    outcomes: dict[int, Outcome] = {}
    early: list[tuple[int, BatchEvent]] = []
    timely: list[tuple[int, BatchEvent]] = []
    for position, arrival in enumerate(arrivals):
        match batches[arrival.batch_id].state:
            case BatchState.PURGED:
                outcomes[position] = Refused(DeadLetterReason.BATCH_PURGED, "the batch was purged")
            case BatchState.UNREGISTERED:
                early.append((position, arrival))
            case _:
                timely.append((position, arrival))
    for waiting, fates in (
        (early, await _park(conn, batches, [arrival for _, arrival in early], policy.max_parked)),
        (timely, await apply_events(conn, batches, [(a.batch_id, a.payload) for _, a in timely], policy.strategy)),
    ):
        outcomes.update(zip((position for position, _ in waiting), fates, strict=True))
    return [outcomes[position] for position in range(len(arrivals))]


async def _park(
    conn: AsyncConnection, batches: LockedBatches, arrivals: Sequence[BatchEvent], max_parked: int
) -> list[Outcome]:
    if not arrivals:
        return []
    known = await pending_events.existing(conn, [arrival.parkable for arrival in arrivals])
    outcomes: list[Outcome] = []
    parked: list[PendingEvent] = []
    for arrival in arrivals:
        batch = batches[arrival.batch_id]
        if (identity := arrival.parkable.identity) in known:
            outcomes.append(AlreadyPending() if known[identity] == arrival.text_id else another_text())
        elif batch.parked >= max_parked:
            outcomes.append(Refused(DeadLetterReason.TOO_MANY_PARKED, f"{max_parked} events wait for this batch"))
        else:
            known[identity] = arrival.text_id
            batch.parked += 1
            parked.append(arrival.parkable)
            outcomes.append(StoredAsPending())
    if parked:
        await pending_events.add(conn, parked)
        failpoint(Failpoint.AFTER_PENDING_INSERT)
        await trackers.save(conn, [batches[batch_id] for batch_id in sorted({event.batch_id for event in parked})])
    return outcomes

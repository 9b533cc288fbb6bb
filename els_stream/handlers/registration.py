"""Registrations: open the batch and apply its pending events, in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from els_stream.domain.batch import BatchEvent
from els_stream.domain.claim_strategy import slot_table_of
from els_stream.domain.outcomes import Refused, Registered
from els_stream.domain.pending import PendingKind
from els_stream.domain.registration import register
from els_stream.events import decoder
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.inbound import Envelope
from els_stream.events.records import RawRecord
from els_stream.failpoints import Failpoint, failpoint
from els_stream.handlers.assignment import apply_events
from els_stream.handlers.batch_events import as_confirmation, as_content, as_failed_upload
from els_stream.handlers.dead_letters import DeadLetterRequest, write_dead_letters
from els_stream.handlers.decoding import AnyEvent, DecodedEvent, InvalidRecord, decode_record
from els_stream.queries import pending_events, trackers
from els_stream.queries.trackers import Opening

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.claim_strategy import Strategy
    from els_stream.domain.outcomes import Outcome
    from els_stream.events.inbound import BatchEssaysRegistered
    from els_stream.queries.trackers import LockedBatches

EventT = TypeVar("EventT", bound=AnyEvent)

# Between two statements a transaction is idle, and the server ends one that idles for too long: to decode twenty
# thousand pending events at once would take seconds.
CHUNK_SIZE: Final = 1000


@dataclass(frozen=True, slots=True)
class RegistrationPolicy:
    """The settings of new batches. A batch keeps the slot table and the deadline of its registration."""

    strategy: Strategy
    deadline: timedelta


class RegistrationProcessor:
    """Opens each batch once; an equal registration is acknowledged, a different one refused and counted."""

    def __init__(self, policy: RegistrationPolicy) -> None:
        self._policy = policy

    async def lock(
        self, conn: AsyncConnection, events: Sequence[DecodedEvent[BatchEssaysRegistered]], also: Collection[str]
    ) -> LockedBatches:
        return await trackers.lock(conn, {event.batch_id for event in events}.union(also))

    async def apply(
        self, conn: AsyncConnection, batches: LockedBatches, events: Sequence[DecodedEvent[BatchEssaysRegistered]]
    ) -> list[Outcome]:
        """Apply the registrations in order, and the pending events of the batches that they open."""
        outcomes: list[Outcome] = []
        openings: list[Opening] = []
        conflicts: Counter[str] = Counter()
        slot_table = slot_table_of(self._policy.strategy)
        for decoded in events:
            batch = batches[decoded.batch_id]
            outcome = register(batch, decoded.event, decoded.correlation_id, slot_table)
            outcomes.append(outcome)
            if isinstance(outcome, Registered):
                openings.append(Opening(batch, decoded.event))
            if isinstance(outcome, Refused) and outcome.reason is DeadLetterReason.CONFLICTING_REGISTRATION:
                conflicts[batch.batch_id] += 1
        if conflicts:
            await trackers.add_conflicts(conn, conflicts)
        if openings:
            await trackers.open_batches(conn, openings, batches.now, self._policy.deadline)
            failpoint(Failpoint.AFTER_REGISTRATION)
            opened = [opening.batch.batch_id for opening in openings]
            await apply_pending(conn, batches, opened, self._policy.strategy)
        return outcomes


async def apply_pending(
    conn: AsyncConnection, batches: LockedBatches, batch_ids: Sequence[str], strategy: Strategy
) -> None:
    """Apply all pending events of these registered or purged batches, in order of arrival, and remove them."""
    pending = await pending_events.take_all(conn, batch_ids)
    for start in range(0, len(pending), CHUNK_SIZE):
        chunk = pending[start : start + CHUNK_SIZE]
        decoded = [_DECODERS[event.key.kind](event.record) for event in chunk]
        valid = [event for event in decoded if not isinstance(event, InvalidRecord)]
        outcomes = await apply_events(conn, batches, valid, strategy)
        invalid = [
            DeadLetterRequest(event.record, event.batch_id, record.refusal)
            for event, record in zip(chunk, decoded, strict=True)
            if isinstance(record, InvalidRecord)
        ]
        refused = [
            DeadLetterRequest(event.source.record, event.event.batch_id, outcome)
            for event, outcome in zip(valid, outcomes, strict=True)
            if isinstance(outcome, Refused)
        ]
        await write_dead_letters(conn, invalid + refused)


def _decoder(
    decode_value: Callable[[bytes | None], Envelope[EventT]],
    as_batch_event: Callable[[DecodedEvent[EventT]], BatchEvent],
) -> Callable[[RawRecord], BatchEvent | InvalidRecord]:
    """Return a decoder of pending records. They were valid when stored; a newer release may find them invalid."""

    def decode(record: RawRecord) -> BatchEvent | InvalidRecord:
        decoded = decode_record(decode_value, record)
        return decoded if isinstance(decoded, InvalidRecord) else as_batch_event(decoded)

    return decode


_DECODERS: Final = {
    PendingKind.CONTENT: _decoder(decoder.decode_content, as_content),
    PendingKind.FAILURE: _decoder(decoder.decode_failure, as_failed_upload),
    PendingKind.ASSOCIATIONS: _decoder(decoder.decode_associations, as_confirmation),
}

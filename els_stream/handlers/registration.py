"""Registrations: open the batch, use what was parked for it, in one transaction."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, assert_never

from els_stream.domain.batch import BatchState, ClassType
from els_stream.domain.claim_strategy import slot_table_of
from els_stream.domain.outcomes import AlreadyRegistered, Refused, Registered
from els_stream.domain.registration import registration_digest
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.decoder import decode_associations, decode_content, decode_failure
from els_stream.failpoints import Failpoint, failpoint
from els_stream.handlers.assignment import apply_events
from els_stream.handlers.batch_events import associations_arrival, content_arrival, failure_arrival
from els_stream.handlers.dead_letters import DeadLetterRequest, write_dead_letters
from els_stream.handlers.decoding import DecodedEvent, decode_record
from els_stream.queries import pending_events, trackers
from els_stream.queries.pending_events import PendingKind
from els_stream.queries.trackers import Opening

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.batch import Batch
    from els_stream.domain.claim_strategy import SlotTable, Strategy
    from els_stream.domain.outcomes import Outcome
    from els_stream.events.inbound import BatchEssaysRegistered
    from els_stream.handlers.batch_events import BatchEvent
    from els_stream.handlers.decoding import InvalidRecord
    from els_stream.queries.pending_events import PendingEvent
    from els_stream.queries.trackers import LockedBatches

# Between two statements a transaction is idle, and the server ends one that idles for too long: twenty thousand parked
# events at once would be seconds of Python.
CHUNK_SIZE = 1000


@dataclass(frozen=True, slots=True)
class RegistrationPolicy:
    """What settings say of new batches; it is written on them and never looked up again."""

    strategy: Strategy
    deadline: timedelta


class RegistrationProcessor:
    """Opens each batch once; an equal registration is acknowledged, a different one refused and flagged."""

    def __init__(self, policy: RegistrationPolicy) -> None:
        self._policy = policy

    async def lock(self, conn: AsyncConnection, events: Sequence[DecodedEvent[BatchEssaysRegistered]]) -> LockedBatches:
        return await trackers.lock(conn, {event.batch_id for event in events})

    async def apply(
        self, conn: AsyncConnection, batches: LockedBatches, events: Sequence[DecodedEvent[BatchEssaysRegistered]]
    ) -> list[Outcome]:
        """Apply the registrations in order, and what waited for the batches that they open."""
        outcomes: list[Outcome] = []
        openings: list[Opening] = []
        conflicts: Counter[str] = Counter()
        for incoming in events:
            batch = batches[incoming.event.batch_id]
            digest = registration_digest(incoming.event)
            outcome = _decide(batch, digest)
            outcomes.append(outcome)
            if isinstance(outcome, Registered):
                _open(batch, incoming, digest, slot_table_of(self._policy.strategy))
                openings.append(Opening(batch, incoming.event, digest))
            if isinstance(outcome, Refused) and outcome.reason is DeadLetterReason.CONFLICTING_REGISTRATION:
                conflicts[batch.batch_id] += 1
        if conflicts:
            await trackers.add_conflicts(conn, conflicts)
        if openings:
            await trackers.open_batches(conn, openings, batches.now, self._policy.deadline)
            failpoint(Failpoint.AFTER_REGISTRATION)
            await apply_pending(conn, batches, [opening.batch.batch_id for opening in openings], self._policy.strategy)
        return outcomes


async def apply_pending(
    conn: AsyncConnection, batches: LockedBatches, batch_ids: Sequence[str], strategy: Strategy
) -> None:
    """Give everything that was parked for these registered batches its fate, in order of arrival."""
    parked = await pending_events.take_all(conn, batch_ids)
    for start in range(0, len(parked), CHUNK_SIZE):
        readings = [_reread(event) for event in parked[start : start + CHUNK_SIZE]]
        arrivals = [reading for reading in readings if not isinstance(reading, DeadLetterRequest)]
        outcomes = await apply_events(
            conn, batches, [(arrival.batch_id, arrival.payload) for arrival in arrivals], strategy
        )
        refused = [
            DeadLetterRequest(arrival.parkable.record, arrival.batch_id, outcome)
            for arrival, outcome in zip(arrivals, outcomes, strict=True)
            if isinstance(outcome, Refused)
        ]
        await write_dead_letters(
            conn, [reading for reading in readings if isinstance(reading, DeadLetterRequest)] + refused
        )


def _reread(event: PendingEvent) -> BatchEvent | DeadLetterRequest:
    """A parked record was good when it was parked; a release that reads it otherwise makes it a dead letter."""
    match event.kind:
        case PendingKind.CONTENT:
            content = decode_record(decode_content, event.record)
            return content_arrival(content) if isinstance(content, DecodedEvent) else _rejected(event, content)
        case PendingKind.FAILURE:
            failure = decode_record(decode_failure, event.record)
            return failure_arrival(failure) if isinstance(failure, DecodedEvent) else _rejected(event, failure)
        case PendingKind.ASSOCIATIONS:
            associations = decode_record(decode_associations, event.record)
            if isinstance(associations, DecodedEvent):
                return associations_arrival(associations)
            return _rejected(event, associations)
        case _:
            assert_never(event.kind)


def _rejected(event: PendingEvent, rejected: InvalidRecord) -> DeadLetterRequest:
    return DeadLetterRequest(event.record, event.batch_id, rejected.refusal)


def _decide(batch: Batch, digest: bytes) -> Outcome:
    match batch.state:
        case BatchState.UNREGISTERED:
            return Registered(drained=batch.parked)
        case BatchState.PURGED:
            return Refused(DeadLetterReason.BATCH_PURGED, "the batch was purged")
        case BatchState.OPEN | BatchState.CONTENT_COMPLETE | BatchState.COMPLETED:
            if batch.registration_digest == digest:
                return AlreadyRegistered()
            return Refused(
                DeadLetterReason.CONFLICTING_REGISTRATION, "the batch is registered with other essays or owners"
            )
        case _:
            assert_never(batch.state)


def _open(batch: Batch, incoming: DecodedEvent[BatchEssaysRegistered], digest: bytes, inventory: SlotTable) -> None:
    """The batch as it will stand once it is open, so that a second registration in the micro-batch sees it."""
    event = incoming.event
    batch.state = BatchState.OPEN
    batch.class_type = ClassType.GUEST if event.class_id is None else ClassType.REGULAR
    batch.inventory = inventory
    batch.expected = batch.free = event.expected_essay_count
    batch.parked = 0
    batch.course_code = event.course_code
    batch.user_id = event.user_id
    batch.class_id = event.class_id
    batch.correlation_id = incoming.correlation_id
    prompt = event.student_prompt_ref
    batch.student_prompt_ref = None if prompt is None else asdict(prompt)
    batch.registration_digest = digest

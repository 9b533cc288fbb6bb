"""The handler of one kind of event: contract violations and refused events become dead letters, the rest is applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, cast

from els_stream.domain.outcomes import Outcome, Refused
from els_stream.handlers.dead_letters import DeadLetterRequest, write_dead_letters
from els_stream.handlers.decoding import AnyEvent, DecodedEvent, InvalidRecord, decode_record
from els_stream.handlers.handler import Handler
from els_stream.queries import trackers
from els_stream.queries.trackers import LockedBatches

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.inbound import Envelope
    from els_stream.events.records import RawRecord

EventT = TypeVar("EventT", bound=AnyEvent)
Event_contra = TypeVar("Event_contra", bound=AnyEvent, contravariant=True)
DecodedRecord = DecodedEvent[AnyEvent] | InvalidRecord

DomainHandler: TypeAlias = Handler[DecodedRecord, Any, Outcome]
"""A handler of the service. Only its own `apply` knows the type that its `lock` returns."""


class EventProcessor(Protocol[Event_contra]):
    """Locks and changes the batches of one kind of event."""

    async def lock(
        self, conn: AsyncConnection, events: Sequence[DecodedEvent[Event_contra]], also: Collection[str]
    ) -> LockedBatches:
        """Lock the batches of these events, of which there is at least one, and `also` these batches."""
        ...

    async def apply(
        self, conn: AsyncConnection, batches: LockedBatches, events: Sequence[DecodedEvent[Event_contra]]
    ) -> Sequence[Outcome]:
        """Apply the events in order; return one outcome for each."""
        ...


@dataclass(frozen=True, slots=True)
class LockedRecords(Generic[EventT]):
    """Decoded records, the valid events among them, and the locked batches of these."""

    decoded: Sequence[DecodedRecord]
    events: Sequence[DecodedEvent[EventT]]
    batches: LockedBatches


@dataclass(frozen=True, slots=True)
class EventHandler(Generic[EventT]):
    """A handler made of a decoder and of a processor for the events that it decodes."""

    name: str
    topic: str
    decoder: Callable[[bytes | None], Envelope[EventT]]
    processor: EventProcessor[EventT]

    def decode(self, records: Sequence[RawRecord]) -> Sequence[DecodedRecord]:
        return [decode_record(self.decoder, record) for record in records]

    async def lock(self, conn: AsyncConnection, decoded: Sequence[DecodedRecord]) -> LockedRecords[EventT]:
        valid = [record for record in decoded if isinstance(record, DecodedEvent)]
        events = cast("list[DecodedEvent[EventT]]", valid)  # `decode` of this handler returns no other type of event
        # A purge of their batches must not miss the dead letters of invalid records.
        invalid = {record.batch_id for record in decoded if isinstance(record, InvalidRecord)} - {None}
        also = await trackers.existing(conn, cast("set[str]", invalid)) if invalid else frozenset[str]()
        if events:
            batches = await self.processor.lock(conn, events, also)
        else:
            batches = await trackers.lock(conn, also) if also else LockedBatches()
        return LockedRecords(decoded, events, batches)

    async def apply(self, conn: AsyncConnection, locked: LockedRecords[EventT]) -> Sequence[Outcome]:
        applied = iter(await self.processor.apply(conn, locked.batches, locked.events) if locked.events else ())
        outcomes = [record.refusal if isinstance(record, InvalidRecord) else next(applied) for record in locked.decoded]
        await write_dead_letters(
            conn,
            [
                DeadLetterRequest(record.record, record.batch_id, outcome)
                for record, outcome in zip(locked.decoded, outcomes, strict=True)
                if isinstance(outcome, Refused)
            ],
        )
        return outcomes

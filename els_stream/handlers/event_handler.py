"""What the intake knows of a handler: records are prepared outside, and applied inside, a transaction of the caller."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeAlias, TypeVar, cast

from els_stream.domain.outcomes import Refused
from els_stream.handlers.dead_letters import DeadLetterRequest, bury_each
from els_stream.handlers.decoding import AnyEvent, DecodedEvent, InvalidRecord, read_record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.domain.outcomes import Outcome
    from els_stream.events.envelope import Envelope
    from els_stream.events.records import RawRecord

EventT = TypeVar("EventT", bound=AnyEvent)
DecodedRecord = DecodedEvent[AnyEvent] | InvalidRecord
OnLocked: TypeAlias = "Callable[[], None]"


def unheard() -> None:
    """For callers whom nobody follows."""


class DomainHandler(Protocol):
    """One per input topic."""

    @property
    def name(self) -> str: ...

    @property
    def topic(self) -> str:
        """The logical topic, without the prefix of an environment."""
        ...

    def prepare(self, records: Sequence[RawRecord]) -> Sequence[DecodedRecord]:
        """One reading per record, in order. Pure; what breaks its contract is a `InvalidRecord`, never an exception."""
        ...

    async def apply(
        self, conn: AsyncConnection, readings: Sequence[DecodedRecord], locked: OnLocked = unheard
    ) -> Sequence[Outcome]:
        """One outcome per reading, in order; effects, outbox rows and dead letters are written and not committed.

        `locked` is called once every lock is taken that these readings need.
        """
        ...


@dataclass(frozen=True, slots=True)
class EventHandler(Generic[EventT]):
    """A handler made of a reader and of what admits the events that it read: one outcome per event, in order."""

    name: str
    topic: str
    read: Callable[[bytes | None], Envelope[EventT]]
    admit: Callable[[AsyncConnection, Sequence[DecodedEvent[EventT]], OnLocked], Awaitable[Sequence[Outcome]]]

    def prepare(self, records: Sequence[RawRecord]) -> Sequence[DecodedRecord]:
        return [read_record(self.read, record) for record in records]

    async def apply(
        self, conn: AsyncConnection, readings: Sequence[DecodedRecord], locked: OnLocked = unheard
    ) -> Sequence[Outcome]:
        good = [reading for reading in readings if isinstance(reading, DecodedEvent)]
        # They come from `prepare` of this handler, so they are of its event.
        admitted = iter(await self.admit(conn, cast("list[DecodedEvent[EventT]]", good), locked) if good else ())
        outcomes = [reading.refusal if isinstance(reading, InvalidRecord) else next(admitted) for reading in readings]
        await bury_each(
            conn,
            [
                DeadLetterRequest(reading.record, reading.batch_id, outcome)
                for reading, outcome in zip(readings, outcomes, strict=True)
                if isinstance(outcome, Refused)
            ],
        )
        return outcomes

"""The protocol of a handler: decode records, lock what they need, apply them, in a transaction of the caller."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.events.records import RawRecord


class HasLabel(Protocol):
    """An outcome; `label` is its value in the metric of events by outcome."""

    @property
    def label(self) -> str: ...


Decoded = TypeVar("Decoded")
Locked = TypeVar("Locked")
Result_co = TypeVar("Result_co", bound=HasLabel, covariant=True)


class Handler(Protocol[Decoded, Locked, Result_co]):
    """Processes the records of one input topic. `lock` and `apply` run in one transaction, which the caller commits."""

    @property
    def name(self) -> str: ...

    @property
    def topic(self) -> str:
        """The logical topic, without the prefix of an environment."""
        ...

    def decode(self, records: Sequence[RawRecord]) -> Sequence[Decoded]:
        """Decode each record, in order. Pure; a record that breaks its contract is a value, never an exception."""
        ...

    async def lock(self, conn: AsyncConnection, decoded: Sequence[Decoded]) -> Locked:
        """Take every lock that `apply` will wait for, and return what it needs."""
        ...

    async def apply(self, conn: AsyncConnection, locked: Locked) -> Sequence[Result_co]:
        """Write all effects, outbox events and dead letters; return one outcome per decoded record, in order."""
        ...


async def process(
    handler: Handler[Decoded, Locked, Result_co], conn: AsyncConnection, records: Sequence[RawRecord]
) -> Sequence[Result_co]:
    """Decode, lock and apply these records in the caller's transaction; return one outcome per record, in order."""
    return await handler.apply(conn, await handler.lock(conn, handler.decode(records)))

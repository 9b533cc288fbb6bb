"""What the intake needs of the domain: a handler per topic, and a way to bury what cannot be handled."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.records import RawRecord

Decoded = TypeVar("Decoded")


class HasLabel(Protocol):
    @property
    def label(self) -> str: ...


class Handler(Protocol[Decoded]):
    @property
    def name(self) -> str: ...
    @property
    def topic(self) -> str:
        """The logical topic."""

    def prepare(self, records: Sequence[RawRecord]) -> Sequence[Decoded]:
        """Pure, one per record; bad input is a reading, not an exception."""

    async def apply(
        self, conn: AsyncConnection, readings: Sequence[Decoded], locked: Callable[[], None]
    ) -> Sequence[HasLabel]:
        """All effects of the readings, in order, in the caller's transaction; one outcome per reading.

        `locked` is to be called, if at all, once the transaction holds every lock that it will want.
        """


LogFields: TypeAlias = Callable[[Sequence[object], Sequence[HasLabel]], Sequence[Mapping[str, str]]]
"""What the log says of single records of a committed micro-batch, by readings and outcomes: a few, and ids only."""


def nothing(_readings: Sequence[object], _outcomes: Sequence[HasLabel]) -> list[Mapping[str, str]]:
    """To be said of them."""
    return []


class WriteDeadLetters(Protocol):
    async def __call__(
        self, conn: AsyncConnection, records: Sequence[RawRecord], reason: DeadLetterReason, message: str
    ) -> None:
        """Dead letters, rows and events, in the caller's transaction."""

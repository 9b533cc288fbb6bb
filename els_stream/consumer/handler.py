"""What the consumer is given beside the handlers: log fields, and a way to write dead letters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.records import RawRecord
from els_stream.handlers.handler import HasLabel

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

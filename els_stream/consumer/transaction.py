"""One transaction: burials, the handler's effects, and the ledger's compare-and-set as its last statement."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.handler import WriteDeadLetters
from els_stream.consumer.partition_state import MicroBatch, PartitionRecords, records_of, spans_of
from els_stream.db.errors import DATABASE_ERRORS, ClassifiedError, FailureClass, OffsetConflict, classify
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.records import RawRecord
from els_stream.failpoints import Failpoint, failpoint
from els_stream.handlers.handler import Decoded, Handler, HasLabel, Locked
from els_stream.queries import consumed_offsets

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """A record that failed alone, and what its dead letter will say: causes, never data."""

    run: PartitionRecords
    reason: DeadLetterReason
    cause: str

    @property
    def message(self) -> str:
        if self.reason is DeadLetterReason.DATABASE_REFUSED:
            return f"the database refuses it, also alone: {self.cause}"
        return f"it fails for an unforeseen reason, also alone, and others do not: {self.cause}"


@dataclass(frozen=True, slots=True)
class Committed:
    """Committed."""

    readings: Sequence[object]
    outcomes: Sequence[HasLabel]
    handler_seconds: float
    commit_seconds: float


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Not committed, as far as we were told: the ledger knows."""

    failure: ClassifiedError


AttemptResult: TypeAlias = Committed | RolledBack


class Attempts(Protocol):
    async def attempt(
        self, batch: MicroBatch, suspects: Sequence[FailedRecord] = (), *, behind: BatchOrder
    ) -> AttemptResult:
        """Tries once, when its turn has come behind an earlier micro-batch, which moves the ledger before it."""
        ...


BeginTransaction: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
"""Begins a transaction, which commits at the end of the block; an engine's `begin`, or one that does more."""


class Transactions(Generic[Decoded, Locked]):
    def __init__(
        self,
        begin: BeginTransaction,
        consumer_group: str,
        handler: Handler[Decoded, Locked, HasLabel],
        bury: WriteDeadLetters,
    ) -> None:
        self._begin = begin
        self._consumer_group = consumer_group
        self._handler = handler
        self._bury = bury

    async def attempt(
        self, batch: MicroBatch, suspects: Sequence[FailedRecord] = (), *, behind: BatchOrder
    ) -> AttemptResult:
        """See Attempts."""
        try:
            decoded = self._handler.decode(records_of(batch))
            await behind.turn()
            async with self._begin() as conn:
                began = time.monotonic()
                outcomes = await self._apply(conn, decoded, behind) if decoded else ()
                applied = time.monotonic()
                await self._bury_all(conn, suspects)
                await self._advance(conn, (*(suspect.run for suspect in suspects), *batch), behind)
                failpoint(Failpoint.BEFORE_COMMIT)
                worked = time.monotonic()
            committed = time.monotonic()
            failpoint(Failpoint.AFTER_COMMIT)
            return Committed(decoded, outcomes, applied - began, committed - worked)
        except DATABASE_ERRORS as error:
            behind.progress.has_failed()
            return RolledBack(classify(error))
        except Exception as error:
            behind.progress.has_failed()
            # With suspects its like was told in full just before.
            log.exception("%s: unforeseen: %s", self._handler.name, type(error).__name__, exc_info=not suspects)
            return RolledBack(ClassifiedError(FailureClass.UNEXPECTED, type(error).__name__))

    async def _apply(self, conn: AsyncConnection, decoded: Sequence[Decoded], behind: BatchOrder) -> Sequence[HasLabel]:
        locked = await self._handler.lock(conn, decoded)
        behind.locked()
        return await self._handler.apply(conn, locked)

    async def _bury_all(self, conn: AsyncConnection, suspects: Sequence[FailedRecord]) -> None:
        """After the handler: while records fail one after the other, their burials would only be rolled back."""
        alike: dict[tuple[DeadLetterReason, str], list[RawRecord]] = {}
        for suspect in suspects:
            alike.setdefault((suspect.reason, suspect.message), []).extend(suspect.run.records)
        for (reason, message), records in alike.items():
            await self._bury(conn, records, reason, message)

    async def _advance(self, conn: AsyncConnection, runs: MicroBatch, behind: BatchOrder) -> None:
        behind.locked()
        spans = spans_of(runs)
        if behind.open:
            if not await behind.ledger_turn():
                raise OffsetConflict
            await consumed_offsets.lock(conn, self._consumer_group, spans)
        if await consumed_offsets.advance(conn, self._consumer_group, spans) != len(spans):
            raise OffsetConflict
        behind.progress.has_moved()

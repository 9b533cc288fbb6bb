"""One transaction: burials, the handler's effects, and the ledger's compare-and-set as its last statement."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.consumer.batch_order import Behind
from els_stream.consumer.handler import Bury, Handler, Labelled, Reading
from els_stream.consumer.partition_state import MicroBatch, Run, records_of, spans_of
from els_stream.db.errors import DATABASE_ERRORS, Failure, LedgerMoved, Verdict, classify
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.records import RawRecord
from els_stream.failpoints import CrashPoint, reach
from els_stream.queries import consumed_offsets

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Suspect:
    """A record that failed alone, and what its dead letter will say: causes, never data."""

    run: Run
    reason: DeadLetterReason
    cause: str

    @property
    def message(self) -> str:
        if self.reason is DeadLetterReason.DATABASE_REFUSED:
            return f"the database refuses it, also alone: {self.cause}"
        return f"it fails for an unforeseen reason, also alone, and others do not: {self.cause}"


@dataclass(frozen=True, slots=True)
class Done:
    """Committed."""

    readings: Sequence[object]
    outcomes: Sequence[Labelled]
    handler_seconds: float
    commit_seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """Not committed, as far as we were told: the ledger knows."""

    failure: Failure


Result: TypeAlias = Done | Failed


class Attempts(Protocol):
    async def attempt(self, batch: MicroBatch, suspects: Sequence[Suspect] = (), *, behind: Behind) -> Result:
        """Tries once, when its turn has come behind an earlier micro-batch, which moves the ledger before it."""
        ...


Begin: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
"""Begins a transaction, which commits at the end of the block; an engine's `begin`, or one that does more."""


class Transactions(Generic[Reading]):
    def __init__(self, begin: Begin, consumer_group: str, handler: Handler[Reading], bury: Bury) -> None:
        self._begin = begin
        self._consumer_group = consumer_group
        self._handler = handler
        self._bury = bury

    def prepare(self, batch: MicroBatch) -> Sequence[Reading]:
        return self._handler.prepare(records_of(batch))

    async def attempt(self, batch: MicroBatch, suspects: Sequence[Suspect] = (), *, behind: Behind) -> Result:
        """See Attempts."""
        try:
            readings = self.prepare(batch)
            await behind.turn()
            async with self._begin() as conn:
                began = time.monotonic()
                outcomes = await self._handler.apply(conn, readings, behind.locked) if readings else ()
                applied = time.monotonic()
                await self._bury_all(conn, suspects)
                await self._advance(conn, (*(suspect.run for suspect in suspects), *batch), behind)
                reach(CrashPoint.BEFORE_COMMIT)
                worked = time.monotonic()
            committed = time.monotonic()
            reach(CrashPoint.AFTER_COMMIT)
            return Done(readings, outcomes, applied - began, committed - worked)
        except DATABASE_ERRORS as error:
            behind.progress.has_failed()
            return Failed(classify(error))
        except Exception as error:
            behind.progress.has_failed()
            # With suspects its like was told in full just before.
            log.exception("%s: unforeseen: %s", self._handler.name, type(error).__name__, exc_info=not suspects)
            return Failed(Failure(Verdict.BUG, type(error).__name__))

    async def _bury_all(self, conn: AsyncConnection, suspects: Sequence[Suspect]) -> None:
        """After the handler: while records fail one after the other, their burials would only be rolled back."""
        alike: dict[tuple[DeadLetterReason, str], list[RawRecord]] = {}
        for suspect in suspects:
            alike.setdefault((suspect.reason, suspect.message), []).extend(suspect.run.records)
        for (reason, message), records in alike.items():
            await self._bury(conn, records, reason, message)

    async def _advance(self, conn: AsyncConnection, runs: MicroBatch, behind: Behind) -> None:
        behind.locked()
        spans = spans_of(runs)
        if behind.open:
            if not await behind.ledger_turn():
                raise LedgerMoved
            await consumed_offsets.lock(conn, self._consumer_group, spans)
        if await consumed_offsets.advance(conn, self._consumer_group, spans) != len(spans):
            raise LedgerMoved
        behind.progress.has_moved()

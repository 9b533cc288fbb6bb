"""One transaction per attempt: the handler's effects, dead letters, and, as the last statement, the stored offsets."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.consumer.batch_order import BatchOrder, Stage
from els_stream.consumer.micro_batch import (
    MicroBatch,
    PartitionRecords,
    offset_ranges,
    records_of,
    undecodable_records,
)
from els_stream.db.errors import DATABASE_ERRORS, ClassifiedError, FailureClass, OffsetConflict, classify
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.records import RawRecord
from els_stream.failpoints import Failpoint, failpoint
from els_stream.handlers.handler import Decoded, Handler, HasLabel, Locked
from els_stream.queries import consumed_offsets

log = logging.getLogger(__name__)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class FailedRecord:
    """A record for which there will be a dead letter, its reason and its cause. `record` holds one record."""

    record: PartitionRecords
    reason: DeadLetterReason
    cause: str

    @property
    def message(self) -> str:
        """Return the dead letter's message: causes, never data."""
        if self.reason is DeadLetterReason.DATABASE_REFUSED:
            return f"the database refuses it, also alone: {self.cause}"
        if self.reason is DeadLetterReason.BAD_TEXT:
            return self.cause
        return f"it fails for an unforeseen reason, also alone, and others do not: {self.cause}"


@dataclass(frozen=True, slots=True)
class Committed:
    decoded: Sequence[object]
    outcomes: Sequence[HasLabel]
    handler_seconds: float
    commit_seconds: float
    undecodable: Sequence[FailedRecord] = ()


@dataclass(frozen=True, slots=True)
class Yielded:
    """Rolled back to give way to the preceding micro-batch: wait for its end, then try again."""


@dataclass(frozen=True, slots=True)
class RolledBack:
    """Not committed as far as the client knows; only the stored offsets show whether a COMMIT arrived."""

    failure: ClassifiedError


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """Everything but the COMMIT succeeded; rolled back on purpose."""


AttemptResult: TypeAlias = Committed | Yielded | RolledBack
RehearsalResult: TypeAlias = Rehearsed | Yielded | RolledBack


class Attempts(Protocol):
    async def attempt(
        self, batch: MicroBatch, failed: Sequence[FailedRecord] = (), *, order: BatchOrder
    ) -> AttemptResult:
        """Try once to process the batch and dead-letter `failed`, after the preceding micro-batch. Never raises."""
        ...

    async def rehearse(
        self, batch: MicroBatch, failed: Sequence[FailedRecord], *, order: BatchOrder
    ) -> RehearsalResult:
        """Do the same and roll back instead of committing."""
        ...


class WriteDeadLetters(Protocol):
    async def __call__(
        self, conn: AsyncConnection, records: Sequence[RawRecord], reason: DeadLetterReason, message: str
    ) -> None:
        """Write the dead letters and their events in the caller's transaction."""


BeginTransaction: TypeAlias = Callable[[], AbstractAsyncContextManager[AsyncConnection]]
"""Begins a transaction, which commits at the end of the block: an engine's `begin`, or the relay's."""


class _GiveWay(Exception):
    """Ends the block of a transaction, so that it is rolled back."""


class _EndOfRehearsal(Exception):
    """Ends the block of a transaction where it would commit."""


class Transactions(Generic[Decoded, Locked]):
    def __init__(
        self,
        begin: BeginTransaction,
        consumer_group: str,
        handler: Handler[Decoded, Locked, HasLabel],
        write_dead_letters: WriteDeadLetters,
    ) -> None:
        self._begin = begin
        self._consumer_group = consumer_group
        self._handler = handler
        self._write_dead_letters = write_dead_letters
        self._places: consumed_offsets.Places = {}

    async def attempt(
        self, batch: MicroBatch, failed: Sequence[FailedRecord] = (), *, order: BatchOrder
    ) -> AttemptResult:
        """See Attempts."""
        return await self._try(self._commit(batch, failed, order), order, with_traceback=not failed)

    async def rehearse(
        self, batch: MicroBatch, failed: Sequence[FailedRecord], *, order: BatchOrder
    ) -> RehearsalResult:
        """See Attempts."""

        async def rehearsal() -> Rehearsed:
            with suppress(_EndOfRehearsal):
                await self._commit(batch, failed, order, rehearse=True)
            return Rehearsed()

        return await self._try(rehearsal(), order, with_traceback=False)

    async def _try(
        self, transaction: Coroutine[None, None, Result], order: BatchOrder, *, with_traceback: bool
    ) -> Result | Yielded | RolledBack:
        try:
            return await transaction
        except _GiveWay:
            result: Yielded | RolledBack = Yielded()
        except DATABASE_ERRORS as error:
            result = RolledBack(classify(error))
        except Exception as error:
            # With failed records a similar error was logged with its traceback just before.
            log.exception("%s: unexpected: %s", self._handler.name, type(error).__name__, exc_info=with_traceback)
            result = RolledBack(ClassifiedError(FailureClass.UNEXPECTED, type(error).__name__))
        order.advance(Stage.FAILED)
        return result

    async def _commit(
        self, batch: MicroBatch, failed: Sequence[FailedRecord], order: BatchOrder, *, rehearse: bool = False
    ) -> Committed:
        undecodable = [
            FailedRecord(record, DeadLetterReason.BAD_TEXT, "a header name is not UTF-8")
            for record in undecodable_records(batch)
        ]
        decoded = self._handler.decode(_readable(batch, undecodable))
        await order.wait_for_locks()
        async with self._begin() as conn:
            began = time.monotonic()
            outcomes = await self._apply(conn, decoded, order) if decoded else ()
            applied = time.monotonic()
            await self._dead_letter_all(conn, (*failed, *undecodable))
            await self._advance_offsets(conn, (*(f.record for f in failed), *batch), order)
            if rehearse:
                raise _EndOfRehearsal
            failpoint(Failpoint.BEFORE_COMMIT)
            worked = time.monotonic()
        committed = time.monotonic()
        failpoint(Failpoint.AFTER_COMMIT)
        return Committed(decoded, outcomes, applied - began, committed - worked, undecodable)

    async def _apply(self, conn: AsyncConnection, decoded: Sequence[Decoded], order: BatchOrder) -> Sequence[HasLabel]:
        locked = await self._handler.lock(conn, decoded)
        order.advance(Stage.LOCKED)
        return await self._handler.apply(conn, locked)

    async def _dead_letter_all(self, conn: AsyncConnection, failed: Sequence[FailedRecord]) -> None:
        """Write them after the handler: if the handler fails, they would only be rolled back."""
        grouped: dict[tuple[DeadLetterReason, str], list[RawRecord]] = {}
        for one in failed:
            grouped.setdefault((one.reason, one.message), []).extend(one.record.records)
        for (reason, message), records in grouped.items():
            await self._write_dead_letters(conn, records, reason, message)

    async def _advance_offsets(self, conn: AsyncConnection, batch: MicroBatch, order: BatchOrder) -> None:
        order.advance(Stage.LOCKED)
        ranges = offset_ranges(batch)
        if order.predecessor_in_flight:
            if not await order.wait_for_offsets():
                raise _GiveWay
            # The predecessor has not committed yet: wait for its row locks, then compare with what it stored.
            await consumed_offsets.lock(conn, self._consumer_group, ranges, self._places)
        if await consumed_offsets.advance(conn, self._consumer_group, ranges, self._places) != len(ranges):
            raise OffsetConflict
        order.advance(Stage.OFFSETS_ADVANCED)


def _readable(batch: MicroBatch, undecodable: Sequence[FailedRecord]) -> list[RawRecord]:
    if not undecodable:
        return records_of(batch)
    left_out = {id(one.record.records[0]) for one in undecodable}
    return [record for record in records_of(batch) if id(record) not in left_out]

"""Processes a micro-batch until every record of it is committed, dead-lettered, paused or no longer owned.

`retry_policy` says what follows a failure. Records that fail alone for an unexpected reason are dead-lettered only with
evidence that they are at fault, and neither the release nor a server that is ill for a while: such a record has to fail
between two passes of a different record.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.batch_outcome import BatchOutcome
from els_stream.consumer.micro_batch import MicroBatch, PartitionRecords, single_records, split
from els_stream.consumer.retry_policy import MICRO_BATCH, SINGLE_RECORD, Action, next_action
from els_stream.consumer.transaction import Attempts, Committed, FailedRecord, Rehearsed, RolledBack, Yielded
from els_stream.db.errors import ClassifiedError, FailureClass
from els_stream.events.dead_letter_reasons import DeadLetterReason


@dataclass(frozen=True, slots=True)
class RecordPassed:
    """Committed, together with the dead letters of the failed records before it; or rehearsed."""


@dataclass(frozen=True, slots=True)
class RecordFailed:
    failed: FailedRecord


@dataclass(frozen=True, slots=True)
class RecordPaused:
    """Its partition is paused."""


@dataclass(frozen=True, slots=True)
class RecordLost:
    """Its partition is no longer owned, or the worker stops."""


RecordResult: TypeAlias = RecordPassed | RecordFailed | RecordPaused | RecordLost


class BatchProcessor:
    def __init__(self, attempts: Attempts, outcome: BatchOutcome) -> None:
        self._attempts = attempts
        self._outcome = outcome

    async def process(self, batch: MicroBatch, order: BatchOrder) -> None:
        """Retry as long as it takes while the partitions are owned. Never raises for failing handlers and servers."""
        failures: Counter[FailureClass] = Counter()
        while batch := self._outcome.still_owned(batch):
            started = time.monotonic()
            result = await self._attempts.attempt(batch, order=order)
            match result:
                case Committed():
                    self._outcome.succeeded(batch, result, started)
                    return
                case Yielded():
                    await order.wait_for_predecessor()
                case RolledBack(failure):
                    failures[failure.failure_class] += 1
                    await self._outcome.reload_offsets(batch, failure, order)
                    batch = self._outcome.still_owned(batch)
                    if await self._handle_failure(batch, failure, failures[failure.failure_class], order):
                        return
                case _:
                    assert_never(result)

    async def _handle_failure(
        self, batch: MicroBatch, failure: ClassifiedError, failures: int, order: BatchOrder
    ) -> bool:
        """Do what the policy says after a failure. Return true when nothing of the batch is left to process."""
        match next_action(MICRO_BATCH, failure.failure_class, failures):
            case Action.BACK_OFF:
                await self._outcome.back_off(failure, failures)
                return False
            case Action.SPLIT:
                await self._process_pieces(split(batch), failure, order)
            case Action.SPLIT_BY_PARTITION:
                await self._process_pieces([(piece,) for piece in batch], failure, order)
            case Action.ISOLATE:
                await self._isolate(batch, order)
            case _:
                return False
        return True

    async def _process_pieces(self, pieces: Sequence[MicroBatch], failure: ClassifiedError, order: BatchOrder) -> None:
        """Process each piece for itself; pause the partition of a batch that cannot be split further."""
        pieces = [piece for piece in pieces if piece]
        if len(pieces) == 1:
            self._outcome.pause({records.state for records in pieces[0]}, failure.cause)
            return
        for piece in pieces:
            await self.process(piece, order)

    async def _isolate(self, batch: MicroBatch, order: BatchOrder) -> None:
        """Process each record alone; a record that passes twice takes the dead letters of those before it along.

        `pending` are the records that failed since the last one that passed. A record that the database refuses needs
        no evidence, unless an unexpected failure is pending before it.
        """
        pending: list[FailedRecord] = []
        for record in single_records(batch):
            result, pending = await self._try_after(pending, record, order)
            pending = _owned(pending)
            match result:
                case RecordPassed():
                    pending = []
                case RecordFailed(failed) if not pending and failed.reason is DeadLetterReason.DATABASE_REFUSED:
                    await self._write_dead_letter(failed, order)
                case RecordFailed(failed):
                    pending.append(failed)
                case RecordPaused() | RecordLost():
                    pass
                case _:
                    assert_never(result)
        for failed in pending:
            await self._end_pending(failed, order)

    async def _try_after(
        self, pending: list[FailedRecord], record: PartitionRecords, order: BatchOrder
    ) -> tuple[RecordResult, list[FailedRecord]]:
        """Try a record; if it would pass, try the pending ones before it again. Return those that are still pending.

        It may pass only because a server that was ill before is well now, and then so may the pending ones.
        """
        if pending:
            rehearsed = await self._try_record(record, pending, order, rehearse=True)
            if not isinstance(rehearsed, RecordPassed):
                return rehearsed, pending
            pending = await self._try_again(pending, order)
        return await self._try_record(record, pending, order), pending

    async def _try_again(self, pending: Sequence[FailedRecord], order: BatchOrder) -> list[FailedRecord]:
        """Try records that failed once more, in order; return those that fail again."""
        failed_again: list[FailedRecord] = []
        for failed in pending:
            result = await self._try_record(failed.record, failed_again, order)
            if isinstance(result, RecordPassed):
                failed_again = []
            elif isinstance(result, RecordFailed):
                failed_again.append(result.failed)
            failed_again = _owned(failed_again)
        return failed_again

    async def _try_record(
        self, record: PartitionRecords, pending: Sequence[FailedRecord], order: BatchOrder, *, rehearse: bool = False
    ) -> RecordResult:
        """Try the record, and the dead letters of the pending ones in the same transaction, as the policy says.

        With `rehearse` that transaction is rolled back: the record passes if everything but the COMMIT succeeds.
        """
        attempt = self._attempts.rehearse if rehearse else self._attempts.attempt
        failures: Counter[FailureClass] = Counter()
        while self._outcome.still_owned((record,)):
            failed = _owned(pending)
            started = time.monotonic()
            result = await attempt((record,), failed, order=order)
            match result:
                case Rehearsed():
                    return RecordPassed()
                case Committed():
                    self._outcome.failed_records.remove(record)
                    self._outcome.dead_lettered(failed)
                    self._outcome.succeeded((record,), result, started)
                    return RecordPassed()
                case Yielded():
                    await order.wait_for_predecessor()
                case RolledBack(failure):
                    failures[failure.failure_class] += 1
                    await self._outcome.reload_offsets((*(one.record for one in failed), record), failure, order)
                    ended = await self._handle_record_failure(record, failure, failures[failure.failure_class])
                    if ended is not None:
                        return ended
        return RecordLost()

    async def _handle_record_failure(
        self, record: PartitionRecords, failure: ClassifiedError, failures: int
    ) -> RecordResult | None:
        """Do what the policy says after a failure of a single record. Return None to try it again."""
        if not self._outcome.still_owned((record,)):
            return RecordLost()
        match next_action(SINGLE_RECORD, failure.failure_class, failures):
            case Action.BACK_OFF:
                await self._outcome.back_off(failure, failures)
            case Action.PAUSE_PARTITION:
                self._outcome.pause((record.state,), failure.cause)
                return RecordPaused()
            case Action.DEAD_LETTER_IF_OTHERS_PASS:
                return RecordFailed(FailedRecord(record, DeadLetterReason.UNPROCESSABLE, failure.cause))
            case Action.DEAD_LETTER:
                return RecordFailed(FailedRecord(record, DeadLetterReason.DATABASE_REFUSED, failure.cause))
            case _:
                pass
        return None

    async def _end_pending(self, failed: FailedRecord, order: BatchOrder) -> None:
        """Dead-letter a record after which none passed here, if it is at fault all the same; else pause it."""
        tracker = self._outcome.failed_records
        tracker.add(failed.record)
        if tracker.is_at_fault(failed.record):
            await self._write_dead_letter(failed, order)
        else:
            self._outcome.pause((failed.record.state,), failed.cause)

    async def _write_dead_letter(self, failed: FailedRecord, order: BatchOrder) -> None:
        """Write it in a transaction of its own; pause the partition if not even that works."""
        attempt = 0
        while self._outcome.still_owned((failed.record,)):
            result = await self._attempts.attempt((), (failed,), order=order)
            match result:
                case Committed():
                    self._outcome.dead_lettered((failed,))
                    return
                case Yielded():
                    await order.wait_for_predecessor()
                case RolledBack(failure):
                    attempt += 1
                    await self._outcome.reload_offsets((failed.record,), failure, order)
                    if failure.failure_class in {FailureClass.TRANSIENT, FailureClass.OFFSET_CONFLICT}:
                        await self._outcome.back_off(failure, attempt)
                    else:
                        self._outcome.pause((failed.record.state,), failure.cause)


def _owned(failed: Sequence[FailedRecord]) -> list[FailedRecord]:
    return [one for one in failed if one.record.state.active]

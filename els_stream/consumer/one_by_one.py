"""Finds the records that fail on their own, without letting a bad release drain a topic into the dead letters.

A record that fails for an unforeseen reason is a suspect. The next different record is tried in a transaction that also
buries the suspects before it: only its passing shows that it was them. What is left at the end is held.
"""

from __future__ import annotations

import time
from collections import Counter

from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.batch_outcome import BatchOutcome
from els_stream.consumer.partition_state import MicroBatch, PartitionRecords, one_by_one
from els_stream.consumer.retry_policy import ALONE, Action, step
from els_stream.consumer.transaction import Attempts, Committed, FailedRecord
from els_stream.db.errors import ClassifiedError, FailureClass
from els_stream.events.dead_letter_reasons import DeadLetterReason


class RecordByRecordFallback:
    def __init__(self, attempts: Attempts, aftermath: BatchOutcome) -> None:
        self._attempts = attempts
        self._aftermath = aftermath

    async def settle(self, batch: MicroBatch, behind: BatchOrder) -> None:
        suspects: list[FailedRecord] = []
        for run in one_by_one(batch):
            await self._one(run, suspects, behind)
            suspects[:] = [suspect for suspect in suspects if suspect.run.part.live]
        for suspect in suspects:
            await self._last_chance(suspect, behind)

    async def _one(self, run: PartitionRecords, suspects: list[FailedRecord], behind: BatchOrder) -> None:
        """Settles this record, and with it the suspects before it; or makes it one of them."""
        seen: Counter[FailureClass] = Counter()
        while self._aftermath.going((run,)):
            suspects[:] = [suspect for suspect in suspects if suspect.run.part.live]
            together = (*(suspect.run for suspect in suspects), run)
            started = time.monotonic()
            result = await self._attempts.attempt((run,), suspects, behind=behind)
            if isinstance(result, Committed):
                self._aftermath.buried(suspects)
                self._aftermath.done((run,), result, started)
                suspects.clear()
                return
            failure = result.failure
            seen[failure.failure_class] += 1
            await self._aftermath.ask(together, failure, behind)
            if self._aftermath.going((run,)) and await self._given_up(
                run, suspects, failure, seen[failure.failure_class]
            ):
                break
        if len(suspects) == 1 and suspects[0].reason is DeadLetterReason.DATABASE_REFUSED:
            # Nothing unforeseen happened before it: this verdict needs no proof by others.
            await self._bury(suspects[0], behind)
            suspects.clear()

    async def _given_up(
        self, run: PartitionRecords, suspects: list[FailedRecord], failure: ClassifiedError, times: int
    ) -> bool:
        match step(ALONE, failure.failure_class, times):
            case Action.PAUSE:
                await self._aftermath.pause(failure, times)
                return False
            case Action.HOLD:
                self._aftermath.hold((run.part,), failure.cause)
            case Action.SUSPECT:
                suspects.append(FailedRecord(run, DeadLetterReason.UNPROCESSABLE, failure.cause))
            case Action.REFUSE:
                suspects.append(FailedRecord(run, DeadLetterReason.DATABASE_REFUSED, failure.cause))
            case _:
                return False
        return True

    async def _last_chance(self, suspect: FailedRecord, behind: BatchOrder) -> None:
        """Nothing passed after it here; if others did since it first failed, it is the record. Else it is held."""
        if self._aftermath.suspicion.others_passed(suspect.run):
            await self._bury(suspect, behind)
        else:
            self._aftermath.suspicion.note(suspect.run)
            self._aftermath.hold((suspect.run.part,), suspect.cause)

    async def _bury(self, suspect: FailedRecord, behind: BatchOrder) -> None:
        """Alone in its transaction; held if not even that works."""
        times = 0
        while self._aftermath.going((suspect.run,)):
            result = await self._attempts.attempt((), (suspect,), behind=behind)
            if isinstance(result, Committed):
                self._aftermath.buried((suspect,))
                return
            times += 1
            failure = result.failure
            await self._aftermath.ask((suspect.run,), failure, behind)
            if failure.failure_class in {FailureClass.TRANSIENT, FailureClass.OFFSET_CONFLICT}:
                await self._aftermath.pause(failure, times)
            else:
                self._aftermath.hold((suspect.run.part,), failure.cause)

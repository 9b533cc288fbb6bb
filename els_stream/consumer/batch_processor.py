"""Settles a micro-batch: in the end every record of it is committed, dropped or held. The rules are in `policy`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.batch_outcome import BatchOutcome
from els_stream.consumer.one_by_one import RecordByRecordFallback
from els_stream.consumer.partition_state import MicroBatch, halves
from els_stream.consumer.retry_policy import MICRO_BATCH, Action, step
from els_stream.consumer.transaction import Attempts, Committed
from els_stream.db.errors import ClassifiedError, FailureClass


class BatchProcessor:
    def __init__(self, attempts: Attempts, aftermath: BatchOutcome) -> None:
        self._attempts = attempts
        self._aftermath = aftermath
        self._one_by_one = RecordByRecordFallback(attempts, aftermath)

    async def settle(self, batch: MicroBatch, behind: BatchOrder) -> None:
        """Tries as long as it takes while the parts live. Never raises for what handlers and servers do."""
        seen: Counter[FailureClass] = Counter()
        while batch := self._aftermath.going(batch):
            started = time.monotonic()
            result = await self._attempts.attempt(batch, behind=behind)
            if isinstance(result, Committed):
                self._aftermath.done(batch, result, started)
                return
            failure = result.failure
            seen[failure.failure_class] += 1
            await self._aftermath.ask(batch, failure, behind)
            if await self._another_way(self._aftermath.going(batch), failure, seen[failure.failure_class], behind):
                return

    async def _another_way(self, batch: MicroBatch, failure: ClassifiedError, times: int, behind: BatchOrder) -> bool:
        """True when it is settled now; false: to be tried again as it is."""
        match step(MICRO_BATCH, failure.failure_class, times):
            case Action.PAUSE:
                await self._aftermath.pause(failure, times)
                return False
            case Action.HALVES:
                await self._pieces(halves(batch), failure, behind)
            case Action.BY_PARTITION:
                await self._pieces([(run,) for run in batch], failure, behind)
            case Action.ONE_BY_ONE:
                await self._one_by_one.settle(batch, behind)
            case _:
                return False
        return True

    async def _pieces(self, pieces: Sequence[MicroBatch], failure: ClassifiedError, behind: BatchOrder) -> None:
        """Each piece for itself; what can't be cut any more is held."""
        pieces = [piece for piece in pieces if piece]
        if len(pieces) == 1:
            self._aftermath.hold({run.part for run in pieces[0]}, failure.cause)
            return
        for piece in pieces:
            await self.settle(piece, behind)

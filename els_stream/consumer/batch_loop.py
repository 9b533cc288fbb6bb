"""The loop of an agent: take queued records and process them, with a bounded number of micro-batches in flight."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final

from els_stream.config.settings import Settings
from els_stream.consumer.batch_order import BatchOrder, Stage
from els_stream.consumer.batch_outcome import BatchOutcome, ConsumerContext
from els_stream.consumer.batch_processor import BatchProcessor
from els_stream.consumer.micro_batch import KeysInFlight, MicroBatch
from els_stream.consumer.transaction import Attempts

log = logging.getLogger(__name__)

# Such a part of a full micro-batch is worth a transaction beside the one in flight.
WORTHWHILE_SHARE: Final = 0.25
# A transaction that is not at its commit by then waits for a lock or for a slow server; others need not wait with it.
MAX_GATHER_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class MicroBatchLimits:
    """The most records and bytes of one micro-batch, and how many of them one agent has in flight."""

    records: int
    bytes: int
    in_flight: int

    @classmethod
    def from_settings(cls, settings: Settings) -> MicroBatchLimits:
        return cls(settings.micro_batch_records, settings.micro_batch_bytes, settings.transactions_in_flight)


class BatchLoop:
    def __init__(
        self, agent: str, topic: str, attempts: Attempts, context: ConsumerContext, limits: MicroBatchLimits
    ) -> None:
        """`topic` is the broker's name."""
        self._agent = agent
        self._topic = topic
        self._buffers = context.buffers
        self._limits = limits
        self._outcome = BatchOutcome(agent, context)
        self._processor = BatchProcessor(attempts, self._outcome)
        self._in_flight: dict[BatchOrder, KeysInFlight] = {}

    async def run(self) -> None:
        """Run until the buffers stop. Cancellation does not cancel what is in flight: `quiesce` waits for that."""
        slots = asyncio.Semaphore(self._limits.in_flight)
        order: BatchOrder | None = None
        while not self._buffers.stopping:
            await slots.acquire()
            await self._gather(order)
            limits = self._limits
            batch = await self._buffers.take(self._topic, limits.records, limits.bytes, self._in_flight.values())
            if not batch:
                return
            order = BatchOrder(order, {piece.state.partition for piece in batch})
            self._in_flight[order] = KeysInFlight(batch)
            task = asyncio.create_task(self._process(batch, order), name=f"{self._agent} micro-batch")
            self._buffers.in_flight.add(task)
            task.add_done_callback(partial(self._ended, order, slots))

    async def _gather(self, newest: BatchOrder | None) -> None:
        """Let records gather until only the commit of the newest micro-batch is left, at most MAX_GATHER_SECONDS.

        A transaction costs several round trips, however few records it has: one for all of them is sooner done than two
        at the same time. With a backlog there is nothing to wait for.
        """
        if newest is None:
            return
        if self._buffers.queued(self._topic, self._limits.records, self._limits.bytes) >= WORTHWHILE_SHARE:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_GATHER_SECONDS):
                await newest.reached(Stage.OFFSETS_ADVANCED)

    async def _process(self, batch: MicroBatch, order: BatchOrder) -> None:
        """Process the batch and end after its predecessors, so that the last one ends when all have ended."""
        try:
            await self._processor.process(batch, order)
        except Exception:
            log.exception("%s: a bug of the consumer; its partitions are read again", self._agent)
            self._outcome.pause({piece.state for piece in batch}, "consumer")
        finally:
            await order.wait_for_predecessor()
            self._outcome.ended()

    def _ended(self, order: BatchOrder, slots: asyncio.Semaphore, task: asyncio.Task[None]) -> None:
        """Do this as a callback of the task: one that is cancelled before its first step runs no code of its own."""
        self._buffers.in_flight.discard(task)
        order.end()
        del self._in_flight[order]
        self._buffers.notify(self._topic)
        slots.release()

"""An agent's loop: take what is there, settle it, with a bounded number of micro-batches in flight."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.batch_outcome import BatchOutcome, ConsumerContext
from els_stream.consumer.batch_processor import BatchProcessor
from els_stream.consumer.partition_state import MicroBatch
from els_stream.consumer.transaction import Attempts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MicroBatchLimits:
    """Of one micro-batch, and how many of them one agent has in flight."""

    records: int
    bytes: int
    in_flight: int


class BatchLoop:
    def __init__(
        self, agent: str, topic: str, attempts: Attempts, around: ConsumerContext, limits: MicroBatchLimits
    ) -> None:
        """`topic` is the broker's name."""
        self._agent = agent
        self._topic = topic
        self._around = around
        self._limits = limits
        self._aftermath = BatchOutcome(agent, around)
        self._settler = BatchProcessor(attempts, self._aftermath)

    async def run(self) -> None:
        """Until the lane stops. To cancel it does not cancel what is in flight: the lane waits for that."""
        lane = self._around.lane
        slots = asyncio.Semaphore(self._limits.in_flight)
        previous: asyncio.Task[None] | None = None
        behind = BatchOrder()
        while not lane.stopping:
            await slots.acquire()
            batch = await lane.take(self._topic, self._limits.records, self._limits.bytes)
            if not batch:
                return
            behind = BatchOrder(previous, behind.progress)
            previous = asyncio.create_task(self._settle(batch, behind), name=f"{self._agent} micro-batch")
            lane.in_flight.add(previous)
            previous.add_done_callback(lane.in_flight.discard)
            previous.add_done_callback(lambda _: slots.release())

    async def _settle(self, batch: MicroBatch, behind: BatchOrder) -> None:
        """Ends after its predecessors, so that to wait for the last one is to wait for all."""
        try:
            await self._settler.settle(batch, behind)
        except Exception:
            log.exception("%s: a bug of the intake; its partitions are read again", self._agent)
            self._aftermath.hold({run.part for run in batch}, "intake")
        finally:
            behind.progress.has_failed()
            await behind.wait()
            self._around.retries.over(self._agent)

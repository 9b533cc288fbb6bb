"""The order of the micro-batches that one agent has in flight: each may wait for a stage of those before it.

It waits for those that have a partition in common with it, since they store its offsets first. A successor may hold a
transaction open while its predecessor works, but must not wait in it without a limit: the predecessor may need a row
lock that the waiter holds, and PostgreSQL does not see who waits inside a process. So a successor begins when its
predecessor holds all its locks, gives way when the predecessor fails, and limits the wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from enum import IntEnum
from typing import Final

from els_stream.kafka.offsets import Partition

# Well below the time that PostgreSQL lets a transaction idle, and that others wait for a lock.
MAX_WAIT_SECONDS: Final = 1.0


class Stage(IntEnum):
    """A stage is never left for an earlier one: after a failed attempt only ENDED can follow."""

    STARTED = 0
    LOCKED = 1  # every lock is taken but those of the stored offsets
    OFFSETS_ADVANCED = 2  # the stored offsets are advanced, not committed
    FAILED = 3  # the first attempt failed; the batch may need any row again
    ENDED = 4  # committed, or given up


class BatchOrder:
    """The stage of one micro-batch, and the micro-batches before it that have not ended."""

    def __init__(self, predecessor: BatchOrder | None = None, partitions: AbstractSet[Partition] = frozenset()) -> None:
        """`predecessor` is the micro-batch that was taken last before this one, `partitions` are those of this one."""
        self.predecessor = predecessor
        self.partitions = partitions
        in_flight = () if predecessor is None else predecessor.up_to_here()
        self._before = [one for one in in_flight if not partitions.isdisjoint(one.partitions)]
        self.stage = Stage.STARTED
        self._changed = asyncio.Event()

    # Called for this micro-batch.

    def advance(self, stage: Stage) -> None:
        if stage > self.stage:
            self.stage = stage
            self._changed.set()
            self._changed = asyncio.Event()

    def end(self) -> None:
        """Advance to ENDED, and forget the predecessors, which would otherwise keep all before them in memory."""
        self.predecessor = None
        self._before = []
        self.advance(Stage.ENDED)

    # Called by its successor.

    def up_to_here(self) -> Iterator[BatchOrder]:
        """Yield this micro-batch and those before it, the latest first, without those that have ended."""
        one: BatchOrder | None = self
        while one is not None and one.stage is not Stage.ENDED:
            yield one
            one = one.predecessor

    async def reached(self, stage: Stage) -> bool:
        """Wait until this micro-batch is at `stage` or later, or has failed. Return false after a failure."""
        while self.stage < stage:
            await self._changed.wait()
        return self.stage is not Stage.FAILED

    # What this micro-batch waits for.

    @property
    def predecessor_in_flight(self) -> bool:
        """True while a micro-batch before this one may change the stored offsets of its partitions."""
        return any(one.stage is not Stage.ENDED for one in self._before)

    async def wait_for_locks(self) -> None:
        """Wait until the predecessors hold their locks, so that they come first at rows that both need.

        After a failure of one of them wait for the end of all.
        """
        for one in self._before:
            if not await one.reached(Stage.LOCKED):
                await self.wait_for_predecessor()

    async def wait_for_offsets(self) -> bool:
        """Wait, inside a transaction, until the predecessors have advanced the stored offsets.

        Return false when one failed or they take longer than MAX_WAIT_SECONDS: then the caller has to roll back.
        """
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                return all([await one.reached(Stage.OFFSETS_ADVANCED) for one in self._before])
        except TimeoutError:
            return False

    async def wait_for_predecessor(self) -> None:
        """Wait until all micro-batches before this one have ended."""
        if self.predecessor is not None:
            await self.predecessor.reached(Stage.ENDED)

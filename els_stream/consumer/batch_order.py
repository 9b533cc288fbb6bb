"""The order of the micro-batches that one agent has in flight: each may wait for a stage of the one before it.

A successor may hold a transaction open while its predecessor works, but must not wait in it without a limit: the
predecessor may need a row lock that the waiter holds, and PostgreSQL does not see who waits inside a process. So a
successor begins when its predecessor holds all its locks, gives way when the predecessor fails, and limits the wait.
"""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import Final

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
    """The stage of one micro-batch, and its predecessor while that has not ended."""

    def __init__(self, predecessor: BatchOrder | None = None) -> None:
        self._predecessor = predecessor
        self.stage = Stage.STARTED
        self._changed = asyncio.Event()

    # Called for this micro-batch.

    def advance(self, stage: Stage) -> None:
        if stage > self.stage:
            self.stage = stage
            self._changed.set()
            self._changed = asyncio.Event()

    def end(self) -> None:
        """Advance to ENDED, and forget the predecessor, which would otherwise keep all before it in memory."""
        self._predecessor = None
        self.advance(Stage.ENDED)

    # Called by its successor.

    async def reached(self, stage: Stage) -> bool:
        """Wait until this micro-batch is at `stage` or later, or has failed. Return false after a failure."""
        while self.stage < stage:
            await self._changed.wait()
        return self.stage is not Stage.FAILED

    # What this micro-batch waits for.

    @property
    def predecessor_in_flight(self) -> bool:
        return self._predecessor is not None and self._predecessor.stage is not Stage.ENDED

    async def wait_for_locks(self) -> None:
        """Wait until the predecessor holds its locks, so that it comes first at rows that both need.

        After a failure of the predecessor wait for its end.
        """
        if self._predecessor is not None and not await self._predecessor.reached(Stage.LOCKED):
            await self.wait_for_predecessor()

    async def wait_for_offsets(self) -> bool:
        """Wait, inside a transaction, until the predecessor has advanced the stored offsets.

        Return false when it failed or takes longer than MAX_WAIT_SECONDS: then the caller has to roll back.
        """
        if self._predecessor is None:
            return True
        try:
            async with asyncio.timeout(MAX_WAIT_SECONDS):
                return await self._predecessor.reached(Stage.OFFSETS_ADVANCED)
        except TimeoutError:
            return False

    async def wait_for_predecessor(self) -> None:
        """Wait until the predecessor has ended."""
        if self._predecessor is not None:
            await self._predecessor.reached(Stage.ENDED)

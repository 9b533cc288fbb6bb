"""What a micro-batch knows of the one taken before it by the same agent, and tells the one after it.

A successor may hold a transaction open while its predecessor works, but must not wait for it there without an end: the
predecessor may want a row lock of the waiter's, and PostgreSQL can't see who waits in a process. So a successor begins
when its predecessor holds every lock that it will want, gives way when that attempt fails, and waits only so long.
"""

from __future__ import annotations

import asyncio
from typing import Final

# Well below what PostgreSQL lets a transaction idle, and what others wait for a lock.
PATIENCE_SECONDS: Final = 1.0


class TransactionProgress:
    """Of one micro-batch's first attempt; any failure makes its successor wait for its end, outside a transaction."""

    def __init__(self) -> None:
        self.locked = asyncio.Event()
        self.ended = asyncio.Event()
        self.moved = False

    def has_moved(self) -> None:
        self.moved = True
        self.locked.set()
        self.ended.set()

    def has_failed(self) -> None:
        self.locked.set()
        self.ended.set()


class BatchOrder:
    """Whether a predecessor is still in flight, and how to wait for it."""

    def __init__(self, predecessor: asyncio.Task[None] | None = None, ahead: TransactionProgress | None = None) -> None:
        """`ahead` is the predecessor's `progress`; not the whole of it, which would chain them all."""
        self._predecessor = predecessor
        self._ahead = ahead
        self.progress = TransactionProgress()

    @property
    def open(self) -> bool:
        return self._predecessor is not None and not self._predecessor.done()

    def locked(self) -> None:
        """Every lock of ours but the ledger's is taken: whoever comes after may begin."""
        self.progress.locked.set()

    async def turn(self) -> None:
        """Wait until the predecessor holds its locks, so that it is first at the rows that both want.

        Where it failed, wait for its end: then it may want any row again.
        """
        if self.open and self._ahead is not None:
            await self._ahead.locked.wait()
            if self._ahead.ended.is_set() and not self._ahead.moved:
                await self.wait()

    async def ledger_turn(self) -> bool:
        """Wait, inside the transaction, until the predecessor has moved the ledger; False: give way to it.

        Else its successor finds the ledger not yet moved, and has worked for nothing.
        """
        if not self.open or self._ahead is None:
            return True
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._ahead.ended.wait()
        except TimeoutError:
            return False
        return self._ahead.moved

    async def wait(self) -> None:
        if self._predecessor is not None and not self._predecessor.done():
            await asyncio.wait({self._predecessor})

"""What a micro-batch knows of the one taken before it by the same agent, and tells the one after it."""

from __future__ import annotations

import asyncio


class Behind:
    """Whether a predecessor is still in flight, and how to wait for it: never inside a transaction.

    A predecessor may be waiting for a row lock that the waiter holds, and PostgreSQL can't see who waits in a process.
    """

    def __init__(self, predecessor: asyncio.Task[None] | None = None, it_worked: asyncio.Event | None = None) -> None:
        """`it_worked` is the predecessor's `has_worked`; not the whole of it, which would chain them all."""
        self._predecessor = predecessor
        self._it_worked = it_worked
        self.has_worked = asyncio.Event()

    @property
    def open(self) -> bool:
        return self._predecessor is not None and not self._predecessor.done()

    def worked(self) -> None:
        """Every lock of ours but the ledger's is taken, or there will be none: whoever comes after may begin."""
        self.has_worked.set()

    async def turn(self) -> None:
        """Wait until the predecessor has worked, so that it is first at the rows that both want, and at the ledger.

        Else its successor overtakes it, finds the ledger not yet moved, and has worked for nothing.
        """
        if self.open and self._it_worked is not None:
            await self._it_worked.wait()

    async def wait(self) -> None:
        if self._predecessor is not None and not self._predecessor.done():
            await asyncio.wait({self._predecessor})

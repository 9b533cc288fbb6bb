"""What a micro-batch knows of the ones taken before it by the same agent."""

from __future__ import annotations

import asyncio


class Behind:
    """Whether a predecessor is still in flight, and how to wait for it: never inside a transaction.

    A predecessor may be waiting for a row lock that the waiter holds, and PostgreSQL can't see who waits in a process.
    """

    def __init__(self, predecessor: asyncio.Task[None] | None = None) -> None:
        self._predecessor = predecessor

    @property
    def open(self) -> bool:
        return self._predecessor is not None and not self._predecessor.done()

    async def wait(self) -> None:
        if self._predecessor is not None and not self._predecessor.done():
            await asyncio.wait({self._predecessor})

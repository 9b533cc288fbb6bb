"""Closes the sockets of a log-in that failed.

asyncpg closes them gracefully: over TLS the socket stays open until the server closes its side too, up to 30 s. So a
frozen server would keep a socket of ours for each attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast


class LogInLoop:
    """The running event loop, as asyncpg is given it for one log-in: it remembers the transports that it opened."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transports: list[asyncio.Transport] = []

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever the loop has
        return getattr(self._loop, name)

    async def create_connection(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Transport, Any]:  # noqa: ANN401
        """Connect as the loop does; takes and returns what it does."""
        transport, protocol = await self._loop.create_connection(*args, **kwargs)
        self._transports.append(transport)
        return transport, protocol

    @contextmanager
    def aborting(self) -> Iterator[asyncio.AbstractEventLoop]:
        """Abort the transports at once if the block fails or is cancelled; yields this loop."""
        try:
            yield cast("asyncio.AbstractEventLoop", self)
        except BaseException:
            for transport in self._transports:
                transport.abort()
            raise
        finally:
            self._transports.clear()

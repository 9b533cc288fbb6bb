"""A TCP proxy that cuts, delays or silences the connections through it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

CHUNK_BYTES: Final = 65_536
NO_DELAY: Final = 0.0


class TcpProxy:
    """Forwards connections to `target` (host, port); `port` is its own once it runs.

    `chunks` counts what it has read from both sides.

    A connection keeps the state that it had when it was silenced: what happens to a path in the field is that its
    old connections are dead while new ones work.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.port = 0
        self.chunks = 0
        self._delay = NO_DELAY
        self._refuses = False
        self._transports: set[asyncio.WriteTransport] = set()
        self._silenced: set[asyncio.WriteTransport] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """Return how many connections are open."""
        return len(self._transports) // 2

    def cut(self) -> None:
        """Reset every connection, and each new one until `restore`."""
        self._refuses = True
        self._abort(self._transports)

    def silence(self) -> None:
        """Forward nothing more on the connections that are open now, and do not close them; new ones work."""
        self._silenced |= self._transports

    def delay(self, seconds: float) -> None:
        """Hold each chunk back for this long, in both directions, until `restore`."""
        self._delay = seconds

    def restore(self) -> None:
        """Forward new connections at once; those that were silenced stay silent."""
        self._refuses, self._delay = False, NO_DELAY

    @contextlib.asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[TcpProxy]:
        """Listen on loopback for the block, on a free port if 0."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self._abort(self._transports)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        try:
            target_reader, target_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer.transport, target_writer.transport}
        self._transports |= ends
        try:
            await asyncio.gather(self._forward(reader, target_writer), self._forward(target_reader, writer))
        finally:
            self._transports -= ends
            self._silenced -= ends
            self._abort(ends)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                self.chunks += 1
                if self._delay:
                    await asyncio.sleep(self._delay)
                if writer.transport not in self._silenced:
                    writer.write(data)
                    await writer.drain()
        if writer.transport not in self._silenced:
            writer.close()

    @staticmethod
    def _abort(transports: set[asyncio.WriteTransport]) -> None:
        for transport in list(transports):
            transport.abort()

"""A path to a server that drops idle connections without a word to either side, as firewalls do."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass


@dataclass
class SilentPath:
    """Counts connections that the client closed in time, and those that were dropped."""

    target: int
    idle_seconds: float
    closed_by_client: int = 0
    dropped: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.target)
        link = _Link(time.monotonic())
        back = asyncio.create_task(self._copy(server_reader, writer, link))
        try:
            await self._copy(reader, server_writer, link)
            self.closed_by_client += not link.dropped
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            for each in (writer, server_writer):
                each.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: _Link) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := await reader.read(65536):
                if link.dropped or time.monotonic() - link.used_at > self.idle_seconds:
                    self.dropped += not link.dropped
                    link.dropped = True
                    continue
                link.used_at = time.monotonic()
                writer.write(chunk)
                await writer.drain()


@dataclass
class _Link:
    used_at: float
    dropped: bool = False


@contextlib.asynccontextmanager
async def silent_path(port: int, target: int, *, idle_seconds: float) -> AsyncIterator[SilentPath]:
    """Forward this port of loopback to another one during the block."""
    path = SilentPath(target, idle_seconds)
    serving: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(path.serve(reader, writer))
        serving.add(task)
        await asyncio.wait([task])

    async with await asyncio.start_server(accept, "127.0.0.1", port):
        try:
            yield path
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)

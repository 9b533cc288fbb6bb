"""A server that accepts connections, reads what comes and never answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def silent_server(port: int = 0) -> AsyncIterator[str]:
    """Run the server for the block, on a free port if 0, then wait until its clients are gone; yields its address."""
    connections: list[asyncio.Task[None]] = []

    async def read_until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.create_task(read_until_closed(reader, writer)))

    async with await asyncio.start_server(never_answer, "127.0.0.1", port) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*connections, return_exceptions=True)

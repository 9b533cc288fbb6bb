"""Servers that are not what a client expects, and a port without one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

NOT_OURS = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@asynccontextmanager
async def http_server() -> AsyncIterator[str]:
    """Answer the first bytes of each connection in HTTP and close it; yields host and port."""
    async with _server(NOT_OURS) as address:
        yield address


@asynccontextmanager
async def closing_server() -> AsyncIterator[str]:
    """Read the first bytes of each connection and close it; yields host and port."""
    async with _server(b"") as address:
        yield address


@contextmanager
def refused_port() -> Iterator[str]:
    """Keep a port that refuses connections, since no one listens; yields host and port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@asynccontextmanager
async def _server(answer: bytes) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(64)
            writer.write(answer)
            await writer.drain()
        except ConnectionError:  # the client has gone
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

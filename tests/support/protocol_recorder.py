"""A proxy of PostgreSQL that counts the messages of a client, exactly, whatever the load of the machine."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from sqlalchemy import make_url

_PROTOCOL_3 = 196608


@dataclass
class ProtocolRecorder:
    """Counts messages by type at the proxy `url`. A Sync or a Query is a round trip: both end in ReadyForQuery."""

    url: str = ""
    messages: Counter[bytes] = field(default_factory=Counter)

    @property
    def round_trips(self) -> int:
        return self.messages[b"S"] + self.messages[b"Q"]

    @property
    def statements(self) -> int:
        return self.messages[b"E"] + self.messages[b"Q"]


@contextlib.asynccontextmanager
async def recorded(url: str) -> AsyncIterator[ProtocolRecorder]:
    """Start a proxy of the server at `url`, for connections without TLS."""
    recorder = ProtocolRecorder()
    target = make_url(url)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(target.host, target.port)
        answers = asyncio.create_task(_forward(server_reader.read, writer))
        await _forward(_Messages(reader, recorder.messages).read, server_writer)
        await answers

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        port = server.sockets[0].getsockname()[1]
        recorder.url = target.set(port=port).render_as_string(hide_password=False)
        yield recorder


@dataclass
class _Messages:
    """Reads the client's messages: startup messages have no type byte, all others begin with one."""

    reader: asyncio.StreamReader
    messages: Counter[bytes]
    started: bool = False

    async def read(self, _: int) -> bytes:
        """Return the next message; empty at the end."""
        try:
            kind = await self.reader.readexactly(1) if self.started else b""
            length = await self.reader.readexactly(4)
            body = await self.reader.readexactly(int.from_bytes(length) - 4)
        except asyncio.IncompleteReadError:
            return b""
        self.started = self.started or int.from_bytes(body[:4]) == _PROTOCOL_3
        self.messages[kind] += 1
        return kind + length + body


async def _forward(read: Callable[[int], Awaitable[bytes]], writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()

"""A door before PostgreSQL that counts what a client says to it: exactly, whatever the machine is busy with."""

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
    """`url` leads through the door. A round trip is what PostgreSQL answers with ReadyForQuery: a Sync or a Query."""

    url: str = ""
    said: Counter[bytes] = field(default_factory=Counter)

    @property
    def round_trips(self) -> int:
        return self.said[b"S"] + self.said[b"Q"]

    @property
    def statements(self) -> int:
        return self.said[b"E"] + self.said[b"Q"]


@contextlib.asynccontextmanager
async def counting(url: str) -> AsyncIterator[ProtocolRecorder]:
    """In front of the server at `url`, for connections without TLS."""
    wire = ProtocolRecorder()
    to = make_url(url)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(to.host, to.port)
        answers = asyncio.create_task(_pass_on(server_reader.read, writer))
        await _pass_on(_Messages(reader, wire.said).read, server_writer)
        await answers

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        port = server.sockets[0].getsockname()[1]
        wire.url = to.set(port=port).render_as_string(hide_password=False)
        yield wire


@dataclass
class _Messages:
    """The client's messages: those of the start have no type, all others begin with one."""

    reader: asyncio.StreamReader
    said: Counter[bytes]
    started: bool = False

    async def read(self, _: int) -> bytes:
        """The next one; nothing at the end."""
        try:
            kind = await self.reader.readexactly(1) if self.started else b""
            length = await self.reader.readexactly(4)
            body = await self.reader.readexactly(int.from_bytes(length) - 4)
        except asyncio.IncompleteReadError:
            return b""
        self.started = self.started or int.from_bytes(body[:4]) == _PROTOCOL_3
        self.said[kind] += 1
        return kind + length + body


async def _pass_on(read: Callable[[int], Awaitable[bytes]], writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()

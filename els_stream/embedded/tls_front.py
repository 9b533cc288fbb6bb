"""TLS in front of a PostgreSQL that is built without it, as the embedded one is.

Clients begin with TLS at once (`sslnegotiation=direct`, PostgreSQL 17), so this needs to know nothing of the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

from els_stream.embedded.certificates import Certificate
from els_stream.embedded.ports import LOOPBACK

CHUNK_BYTES = 256 * 1024
# Registered for PostgreSQL's protocol; clients that begin with TLS insist on it.
ALPN = "postgresql"


@contextlib.asynccontextmanager
async def tls_front(port: int, certificate: Certificate) -> AsyncIterator[int]:
    """Forward TLS connections to a port of loopback during the block; yields the port where they are accepted."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.chain, certificate.key)
    context.set_alpn_protocols([ALPN])
    forwarding: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            forwarding.add(task)
            task.add_done_callback(forwarding.discard)
        with contextlib.suppress(OSError):
            await _forward(reader, writer, port)

    server = await asyncio.start_server(accept, LOOPBACK, 0, ssl=context)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in list(forwarding):
            task.cancel()
        await asyncio.gather(*forwarding, return_exceptions=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """Copy both ways until one side ends, then close both."""
    server_writer: asyncio.StreamWriter | None = None
    try:
        server_reader, server_writer = await asyncio.open_connection(LOOPBACK, port)
        ways = {asyncio.ensure_future(_copy(*way)) for way in ((reader, server_writer), (server_reader, writer))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
    except asyncio.CancelledError:
        writer.transport.abort()  # a graceful end takes up to 30 s over TLS
        raise
    finally:
        writer.close()
        if server_writer is not None:
            server_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()

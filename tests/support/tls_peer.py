"""The other end of one TLS connection: it takes a client's first message, and never closes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from els_stream.embedded.certificates import Certificate
from els_stream.embedded.tls_front import ALPN

SECONDS: Final = 10  # asyncio waits up to 30 s for the end of TLS
CHUNK_BYTES: Final = 65_536
POSTGRES_ACCEPTS: Final = b"S"


class TlsPeer:
    """Listens on `port` of loopback for one client; the methods block."""

    def __init__(self, certificate: Certificate, listener: socket.socket) -> None:
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate.chain, certificate.key)
        self._context.set_alpn_protocols([ALPN])
        self._listener = listener
        self.port: int = listener.getsockname()[1]

    def accept(self, *, postgres: bool = False, answer: bytes = b"") -> socket.socket:
        """Take a client to its first message over TLS, answer it; return the socket below TLS.

        `postgres`: the client asks for TLS in PostgreSQL's way.
        """
        client, _ = self._listener.accept()
        client.settimeout(SECONDS)
        if postgres:
            client.recv(CHUNK_BYTES)
            client.sendall(POSTGRES_ACCEPTS)
        encrypted = self._context.wrap_socket(client, server_side=True)
        encrypted.recv(CHUNK_BYTES)
        if answer:
            encrypted.sendall(answer)
        return socket.socket(fileno=encrypted.detach())


def is_closed(client: socket.socket) -> bool:
    """Wait until the client closes its socket, for a third of the time that asyncio would keep it."""
    client.settimeout(SECONDS)
    with client:
        try:
            while client.recv(CHUNK_BYTES):
                pass
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
    return True


@contextmanager
def tls_peer(certificate: Certificate) -> Iterator[TlsPeer]:
    """Listen during the block, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        yield TlsPeer(certificate, listener)

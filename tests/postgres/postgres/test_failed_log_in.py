"""A log-in over TLS that fails closes its socket, also if the server does not; asyncpg alone keeps it for 30 s."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import asyncpg
import pytest

from els_stream.embedded.certificates import Authority
from els_stream.postgres.connect import Connector
from els_stream.postgres.session import SessionNeeds
from tests.support.tls_peer import is_closed, tls_peer

FIELDS = b"SFATAL\0C28P01\0Mwrong password\0\0"
WRONG_PASSWORD = b"E" + struct.pack("!i", 4 + len(FIELDS)) + FIELDS


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("answer", [WRONG_PASSWORD, b""], ids=["refused", "cancelled"])
async def test_a_log_in_that_fails_closes_its_socket(tmp_path: Path, negotiation: str, answer: bytes) -> None:
    with tls_peer(Authority(tmp_path).issue("server")) as peer:
        url = f"postgresql://els:otter@127.0.0.1:{peer.port}/els?sslmode=require&sslnegotiation={negotiation}"
        attempt = asyncio.create_task(Connector(url, SessionNeeds(name="els test")).connect())
        client: socket.socket = await asyncio.to_thread(peer.accept, postgres=negotiation == "postgres", answer=answer)
        if not answer:
            attempt.cancel()

        with pytest.raises(asyncpg.InvalidPasswordError if answer else asyncio.CancelledError):
            await attempt
        assert await asyncio.to_thread(is_closed, client)

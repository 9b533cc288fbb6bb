"""TLS in front of the embedded PostgreSQL: the secure demo reaches its database by it."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from els_stream.demo.secure_servers import behind
from els_stream.embedded.certificates import Authority
from els_stream.embedded.servers import Addresses
from els_stream.embedded.tls_front import tls_front
from els_stream.postgres.connect import connect_once

LARGE = 5_000_000


async def test_sessions_work_and_the_certificate_is_checked(addresses: Addresses, tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "stranger")
    server = urlsplit(addresses.database_url)
    assert server.port is not None
    async with tls_front(server.port, authority.issue("database")) as port:
        connection = await connect_once(behind(server, port, authority.file))
        try:
            assert len(await connection.fetchval("SELECT repeat($1, $2)", "x", LARGE)) == LARGE
            assert await connection.fetchval("SELECT length($1)", "x" * LARGE) == LARGE
        finally:
            await connection.close()

        with pytest.raises(ssl.SSLCertVerificationError):
            await connect_once(behind(server, port, stranger.file))

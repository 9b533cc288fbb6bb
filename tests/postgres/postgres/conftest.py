from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.secure_postgres import SecureServer


@pytest.fixture(scope="session")
def secure_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureServer]:
    """A server with TLS and the service's schema, one for all tests."""
    secure = SecureServer.of(tmp_path_factory.mktemp("tls"))
    try:
        asyncio.run(secure.create())
        yield secure
    finally:
        asyncio.run(secure.server.remove())

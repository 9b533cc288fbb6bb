"""Servers of one demo only, with TLS and logins; certificates and passwords are made on the spot."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, urlencode, urlsplit

from pydantic import SecretStr

from els_stream.embedded.certificates import Authority
from els_stream.embedded.kafka_security import KafkaSecurity, Listener
from els_stream.embedded.processes import shielded
from els_stream.embedded.servers import Addresses, EmbeddedServers, signals_cancel_body
from els_stream.embedded.state import StateFolder
from els_stream.embedded.tls_front import tls_front
from els_stream.errors import ConfigurationError

if TYPE_CHECKING:
    from els_stream.config.settings import Settings

USER: Final = "els"
LISTENER: Final = "LOGIN"


@contextlib.asynccontextmanager
async def secure_servers(settings: Settings) -> AsyncIterator[tuple[Settings, Addresses]]:
    """Run both servers during the block; yield settings that log in to them, and their addresses.

    Kafka has only listeners with TLS: SASL_SSL with SCRAM for clients, where the user may do everything.
    """
    if settings.broker_url is not None or settings.database_url is not None:
        raise ConfigurationError("the secure demo starts servers of its own: unset ELS_BROKER_URL and ELS_DATABASE_URL")
    folder = settings.state_dir / f"secure-{secrets.token_hex(4)}"
    StateFolder(folder).create()
    try:
        with signals_cancel_body() as received:
            try:
                async with contextlib.AsyncExitStack() as end:
                    yield await _start(settings, folder, end)
            except asyncio.CancelledError:
                if received:
                    raise SystemExit(128 + received[0]) from None
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _start(settings: Settings, folder: Path, end: contextlib.AsyncExitStack) -> tuple[Settings, Addresses]:
    """Start the servers; `end` stops them and removes their data."""
    authority, password = Authority(folder / "certificates"), secrets.token_urlsafe(24)
    own, listeners = authority.issue(USER), [Listener(LISTENER, "SASL_SSL")]
    servers = EmbeddedServers(folder, security=KafkaSecurity(authority.file, USER, own, listeners, {USER: password}))
    end.push_async_callback(_stop, servers)
    await servers.start()
    address = urlsplit(servers.postgres.url)
    front = await end.enter_async_context(tls_front(address.port or 0, authority.issue("database")))
    login = {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_ca_file": authority.file,
        "kafka_sasl_mechanism": "SCRAM-SHA-512",
        "kafka_user": USER,
        "kafka_password": SecretStr(password),
    }
    addresses = Addresses(servers.kafka.address_of(LISTENER), behind(address, front, authority.file))
    return settings.model_copy(update=login), addresses


async def _stop(servers: EmbeddedServers) -> None:
    await shielded(servers.stop())
    servers.remove_data()


def behind(address: SplitResult, port: int, ca_file: Path) -> str:
    """Return the address of the database by way of this port, where the certificate is checked."""
    account, _, server = address.netloc.rpartition("@")
    checked = {"sslmode": "verify-full", "sslnegotiation": "direct", "sslrootcert": str(ca_file)}
    netloc = f"{account}@{server.rpartition(':')[0]}:{port}"
    return address._replace(netloc=netloc, query=urlencode(checked, safe="/")).geturl()

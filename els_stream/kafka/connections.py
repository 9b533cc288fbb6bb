"""The connections of one client: how they are opened, and why they can't be."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakSet

from aiokafka.conn import AIOKafkaConnection
from aiokafka.conn import create_conn as create_plain_connection

from els_stream.kafka.broker import Broker, PasswordLogin, TokenLogin
from els_stream.kafka.broker_errors import BrokerConnectionFailed, explain, is_refusal
from els_stream.kafka.connection import Connection
from els_stream.kafka.oauth import TokenSource
from els_stream.kafka.tls import TlsFiles

# For the connection, TLS, the versions and the login together; aiokafka would wait for each as long as for a request.
CONNECT_TIMEOUT_SECONDS: Final = 5.0
# Before a failure is reported: without it clients with a wrong password try several times a second, for ever.
FAILURE_PAUSE_SECONDS: Final = (0.1, 0.3)
FAILURE_LIFE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the last attempt at an address failed; `refused` if TLS or the login did, which time does not mend."""

    cause: str
    refused: bool
    at: float


class Connections:
    """Opens connections for one client, and knows at which addresses the last attempt failed."""

    def __init__(self, broker: Broker) -> None:
        """Raise ConfigurationError if a certificate can't be used."""
        self._failures: dict[str, Failure] = {}
        self._opened: WeakSet[Connection] = WeakSet()
        self._broker = broker
        self._tls = None if broker.tls is None else TlsFiles(broker.tls)
        self._tokens = TokenSource(broker.login) if isinstance(broker.login, TokenLogin) else None

    @property
    def cause(self) -> str | None:
        """Why the last attempt at some address failed, with the address, or None."""
        return next((f"{address}: {failure.cause}" for address, failure in self._recent()), None)

    @property
    def problem(self) -> str | None:
        """What keeps this client from its brokers: `cause`, if TLS or a login is refused or no connection is open.

        A broker that is away while others answer is none.
        """
        connected = any(connection.connected() for connection in list(self._opened))
        failures = [(where, failure) for where, failure in self._recent() if failure.refused or not connected]
        return next((f"{where}: {failure.cause}" for where, failure in failures), None)

    def _recent(self) -> list[tuple[str, Failure]]:
        """Return failures of addresses that are still tried: a client that fails tries again within seconds."""
        since = time.monotonic() - FAILURE_LIFE_SECONDS
        return [(address, failure) for address, failure in list(self._failures.items()) if failure.at > since]

    def options(self) -> dict[str, Any]:
        """Return the options of an aiokafka client; it opens its connections here, by `open_connection`."""
        broker = self._broker
        options: dict[str, Any] = {
            "bootstrap_servers": broker.servers.split(","),
            "security_protocol": broker.protocol,
            "connections_max_idle_ms": round(broker.max_idle_seconds * 1000),
            "sasl_plain_password": self,  # passed on to each connection, and taken for a password by nothing else
        }
        if self._tls is not None:
            options["ssl_context"] = self._tls.current()
        if broker.login is not None:
            options["sasl_mechanism"] = broker.login.mechanism
        if isinstance(broker.login, PasswordLogin):
            options["sasl_plain_username"] = broker.login.user
        return options

    async def open(self, host: str, port: int, options: dict[str, object]) -> Connection:
        """Open a connection with the certificates and the secret as of now.

        Raises BrokerConnectionFailed, whose message says why, for every error.
        """
        address = f"{host}:{port}"
        if self._tls is not None:
            options["ssl_context"] = self._tls.current()
        connection = Connection(host, port, broker=self._broker, tokens=self._tokens, **options)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await connection.connect()
        except Exception as error:
            cause = explain(error, self._broker)
            self._failures[address] = Failure(cause, is_refusal(error), time.monotonic())
            await asyncio.sleep(random.uniform(*FAILURE_PAUSE_SECONDS))  # noqa: S311 - no secret
            raise BrokerConnectionFailed(cause) from error
        self._failures.pop(address, None)
        self._opened.add(connection)
        return connection


async def open_connection(host: str, port: int, **options: object) -> AIOKafkaConnection:
    """Open a connection in place of aiokafka's `create_conn`."""
    opener = options.get("sasl_plain_password")
    if not isinstance(opener, Connections):
        return await create_plain_connection(host, port, **options)
    passed_on = {name: value for name, value in options.items() if name not in _OURS}
    return await opener.open(host, port, passed_on)


_OURS: Final = frozenset({"sasl_plain_password", "sasl_oauth_token_provider"})

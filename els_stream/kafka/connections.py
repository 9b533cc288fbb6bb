"""The connections of one client: how they are opened, and why they can't be."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection
from aiokafka.conn import create_conn as create_plain_connection

from els_stream.kafka.broker import Broker, PasswordLogin, TokenLogin
from els_stream.kafka.broker_errors import BrokerConnectionFailed, explain
from els_stream.kafka.connection import Connection
from els_stream.kafka.oauth import TokenSource
from els_stream.kafka.tls import TlsFiles

# For the connection, TLS, the versions and the login together; aiokafka would wait for each as long as for a request.
CONNECT_TIMEOUT_SECONDS: Final = 5.0
# Before a failure is reported: without it clients with a wrong password try several times a second, for ever.
FAILURE_PAUSE_SECONDS: Final = (0.1, 0.3)


class Connections:
    """Opens connections for one client. `failures` has the cause for each address that the last attempt failed at."""

    def __init__(self, broker: Broker) -> None:
        """Raise ConfigurationError if a certificate can't be used."""
        self.failures: dict[str, str] = {}
        self._broker = broker
        self._tls = None if broker.tls is None else TlsFiles(broker.tls)
        self._tokens = TokenSource(broker.login) if isinstance(broker.login, TokenLogin) else None

    @property
    def cause(self) -> str | None:
        """Why connections fail now, with the address, or None if the last ones were opened."""
        return next((f"{address}: {cause}" for address, cause in list(self.failures.items())), None)

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
            self.failures[address] = explain(error, self._broker)
            await asyncio.sleep(random.uniform(*FAILURE_PAUSE_SECONDS))  # noqa: S311 - no secret
            raise BrokerConnectionFailed(self.failures[address]) from error
        self.failures.pop(address, None)
        return connection


async def open_connection(host: str, port: int, **options: object) -> AIOKafkaConnection:
    """Open a connection in place of aiokafka's `create_conn`."""
    opener = options.get("sasl_plain_password")
    if not isinstance(opener, Connections):
        return await create_plain_connection(host, port, **options)
    passed_on = {name: value for name, value in options.items() if name not in _OURS}
    return await opener.open(host, port, passed_on)


_OURS: Final = frozenset({"sasl_plain_password", "sasl_oauth_token_provider"})

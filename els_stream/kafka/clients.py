"""aiokafka's clients, made from the settings of the broker, with three of their faults mended.

The rest of this project takes them from here. What is changed in aiokafka is changed once, for the whole process:

Brokers with `auto.create.topics.enable`, which is Kafka's default, create a topic when a client asks for its metadata:
with the broker's number of partitions, retention and limits, and also right after somebody deleted it. aiokafka's
requests allow that and have no option; only Kafka's own field `allow_auto_topic_creation` (KIP-204, version 4 of the
request) forbids it. So its default is changed here, before any client exists.

A client whose start is cancelled, by a time-out for instance, leaves its first connection open: no one else knows it.

Its errors hide why a connection failed, and it keeps the password of the start. Here `Connections` opens them.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Final

from aiokafka import AIOKafkaConsumer as StockConsumer
from aiokafka import AIOKafkaProducer as StockProducer
from aiokafka import client
from aiokafka.admin import AIOKafkaAdminClient as StockAdminClient
from aiokafka.protocol.metadata import MetadataRequest
from typing_extensions import override

from els_stream.kafka.broker import BrokerAddress, as_broker
from els_stream.kafka.connections import Connections, open_connection

__all__ = ["AIOKafkaAdminClient", "AIOKafkaConsumer", "AIOKafkaProducer"]

_NO_TOPICS, _FORBID_CREATION = None, False

MetadataRequest.__init__.__defaults__ = (_NO_TOPICS, _FORBID_CREATION)

_first_connections: Final[ContextVar[list[client.AIOKafkaConnection]]] = ContextVar("_first_connections")
_bootstrap: Final = client.AIOKafkaClient.bootstrap


async def _create_known_connection(host: str, port: int, **options: object) -> client.AIOKafkaConnection:
    connection = await open_connection(host, port, **options)
    if "on_close" not in options:  # all later ones have it, and are the client's own
        _first_connections.get().append(connection)
    return connection


async def _bootstrap_or_close(self: client.AIOKafkaClient) -> None:
    """Start the client as aiokafka does; close what it opened if that is cancelled or fails."""
    opened: list[client.AIOKafkaConnection] = []
    token = _first_connections.set(opened)
    try:
        await _bootstrap(self)
    except BaseException:
        for connection in opened:
            connection.close()
        raise
    finally:
        _first_connections.reset(token)


client.create_conn = _create_known_connection
client.AIOKafkaClient.bootstrap = _bootstrap_or_close


class AIOKafkaConsumer(StockConsumer):
    @override
    def __init__(self, *topics: str, bootstrap_servers: BrokerAddress, **options: Any) -> None:
        self.connections = Connections(as_broker(bootstrap_servers))
        super().__init__(*topics, **self.connections.options(), **options)


class AIOKafkaProducer(StockProducer):
    @override
    def __init__(self, *, bootstrap_servers: BrokerAddress, **options: Any) -> None:
        self.connections = Connections(as_broker(bootstrap_servers))
        super().__init__(**self.connections.options(), **options)


class AIOKafkaAdminClient(StockAdminClient):
    @override
    def __init__(self, *, bootstrap_servers: BrokerAddress, **options: Any) -> None:
        self.connections = Connections(as_broker(bootstrap_servers))
        super().__init__(**self.connections.options(), **options)

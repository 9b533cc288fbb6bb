"""aiokafka's clients with two of their faults mended; the rest of this project takes them from here.

Brokers with `auto.create.topics.enable`, which is Kafka's default, create a topic when a client asks for its metadata:
with the broker's number of partitions, retention and limits, and also right after somebody deleted it. aiokafka's
requests allow that and have no option; only Kafka's own field `allow_auto_topic_creation` (KIP-204, version 4 of the
request) forbids it. So its default is changed here for the whole process, before any client exists.

A client whose start is cancelled, by a time-out for instance, leaves its first connection open: no one else knows it.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, client
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.metadata import MetadataRequest

__all__ = ["AIOKafkaAdminClient", "AIOKafkaConsumer", "AIOKafkaProducer"]

_NO_TOPICS, _FORBID_CREATION = None, False

MetadataRequest.__init__.__defaults__ = (_NO_TOPICS, _FORBID_CREATION)

_first_connections: Final[ContextVar[list[client.AIOKafkaConnection]]] = ContextVar("_first_connections")
_create_connection: Final = client.create_conn
_bootstrap: Final = client.AIOKafkaClient.bootstrap


async def _create_known_connection(*args: object, **options: object) -> client.AIOKafkaConnection:
    connection = await _create_connection(*args, **options)
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

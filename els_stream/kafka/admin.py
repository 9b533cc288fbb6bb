"""Admin clients of the broker, with its errors translated."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from els_stream.kafka.broker import BrokerAddress
from els_stream.kafka.clients import AIOKafkaAdminClient
from els_stream.kafka.lifecycle import CONNECTION_ERRORS, started, stop

__all__ = ["CONNECTION_ERRORS", "admin_client", "close"]


@asynccontextmanager
async def admin_client(broker: BrokerAddress) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a started client and close it at the end. Raises ServersUnavailable for every Kafka error in the body."""
    client = AIOKafkaAdminClient(bootstrap_servers=broker)
    async with started(client, client.close, broker):
        yield client


async def close(client: AIOKafkaAdminClient) -> None:
    """Close the client within a time limit; ignores connection errors."""
    await stop(client.close)

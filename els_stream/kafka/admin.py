"""Admin clients of the broker, with its errors translated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final

from aiokafka.errors import KafkaError

from els_stream.errors import ServersUnavailable
from els_stream.kafka.clients import AIOKafkaAdminClient

CLOSE_TIMEOUT_SECONDS: Final = 0.5
# uvloop raises RuntimeError when it is asked to write to a connection that was just lost.
CONNECTION_ERRORS: Final = (KafkaError, OSError, RuntimeError)


@asynccontextmanager
async def admin_client(broker: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """Yield a started client and close it at the end. Raises ServersUnavailable for every Kafka error in the body."""
    client = AIOKafkaAdminClient(bootstrap_servers=broker)
    with broker_errors(broker):
        try:
            await client.start()
            yield client
        finally:
            await close(client)


async def close(client: AIOKafkaAdminClient) -> None:
    """Close the client within CLOSE_TIMEOUT_SECONDS; ignores connection errors."""
    with suppress(*CONNECTION_ERRORS):
        async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
            await client.close()


@contextmanager
def broker_errors(broker: str) -> Iterator[None]:
    """Raise ServersUnavailable for every Kafka error in the body."""
    try:
        yield
    except KafkaError as error:
        raise ServersUnavailable(f"the broker {broker} does not answer: {error}") from error

"""Starts and stops aiokafka's clients within time limits, with the errors of the broker translated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Final, Protocol

from aiokafka.errors import KafkaError

from els_stream.errors import ServersUnavailable
from els_stream.kafka.broker import BrokerAddress
from els_stream.kafka.connections import Connections

START_TIMEOUT_SECONDS: Final = 10.0
CLOSE_TIMEOUT_SECONDS: Final = 0.5
# uvloop raises RuntimeError when it is asked to write to a connection that was just lost.
CONNECTION_ERRORS: Final = (KafkaError, OSError, RuntimeError)


class Startable(Protocol):
    """An aiokafka client; they have no common base, and close by methods of different names."""

    connections: Connections

    async def start(self) -> None: ...


@asynccontextmanager
async def started(
    client: Startable, close: Callable[[], Awaitable[None]], broker: BrokerAddress
) -> AsyncIterator[None]:
    """Start the client for the block and close it at the end.

    Raises ServersUnavailable for every Kafka error in the block, and for a broker that does not answer in time.
    """
    with broker_errors(broker, client.connections):
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await client.start()
            yield
        finally:
            await stop(close)


async def stop(close: Callable[[], Awaitable[None]]) -> None:
    """Close a client within CLOSE_TIMEOUT_SECONDS; ignores connection errors.

    aiokafka raises CancelledError where it cancelled a task of its own that had not begun, as for a consumer that is
    stopped at once. That one is no cancellation of the caller.
    """
    caller = asyncio.current_task()
    cancelled_before = 0 if caller is None else caller.cancelling()
    with suppress(*CONNECTION_ERRORS):
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await close()
        except asyncio.CancelledError:
            if caller is None or caller.cancelling() > cancelled_before:
                raise


@contextmanager
def broker_errors(broker: BrokerAddress, connections: Connections) -> Iterator[None]:
    """Raise ServersUnavailable for every Kafka error and time-out in the block, with the cause if that is known."""
    try:
        yield
    except (KafkaError, TimeoutError) as error:
        if connections.cause is not None:
            raise ServersUnavailable(f"no connection to the broker {connections.cause}") from error
        reason = str(error) or f"no answer in time ({type(error).__name__})"
        raise ServersUnavailable(f"the broker {broker} does not answer: {reason}") from error

"""The errors of a server that is away for a moment, and calls that are repeated until it is back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import asyncpg
from aiokafka.errors import KafkaError

from els_stream.errors import ServersUnavailable

T = TypeVar("T")

CONNECTION_ERRORS: Final = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    TimeoutError,
)
TEMPORARY: Final = (*CONNECTION_ERRORS, KafkaError, ServersUnavailable)
RETRY_SECONDS: Final = 0.2
MAX_ATTEMPTS: Final = 300


async def persistently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat the call while a server is away."""
    for _ in range(MAX_ATTEMPTS):
        try:
            return await call()
        except TEMPORARY:
            await asyncio.sleep(RETRY_SECONDS)
    return await call()

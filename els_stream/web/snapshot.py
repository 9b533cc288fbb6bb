"""The web server's own small connection pool, so that pages and the consumer never wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

POOL_SIZE: Final = 3
TIMEOUT_SECONDS: Final = 3.0


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a connection on which all reads see one moment. Raises TimeoutError after TIMEOUT_SECONDS in all."""
    async with asyncio.timeout(TIMEOUT_SECONDS), engine.connect() as conn:
        yield await conn.execution_options(isolation_level="REPEATABLE READ")

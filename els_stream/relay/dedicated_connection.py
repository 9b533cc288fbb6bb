"""Database connections that one component of the relay keeps for itself, outside the pool."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncEngine


@asynccontextmanager
async def dedicated_connection(
    engine: AsyncEngine, *, idle_seconds: float | None = None
) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection as the engine does, detach it from the pool, and terminate it at exit.

    PostgreSQL ends the session if the client is silent for `idle_seconds`, or if the network connection is dead.
    """
    async with engine.connect() as conn:
        fairy = await conn.get_raw_connection()
        driver: asyncpg.Connection | None = fairy.driver_connection
        fairy.detach()
        if driver is None:
            raise ConnectionError("the connection was closed before it could be used")
        try:
            await driver.execute("SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2; "
                                 "SET tcp_keepalives_count = 3; SET tcp_user_timeout = 15000")  # fmt: skip
            if idle_seconds is not None:
                await driver.execute(f"SET idle_session_timeout = {int(idle_seconds * 1000)}")
            yield driver
        finally:
            # `close` would wait for a server that may be gone.
            driver.terminate()

"""Database connections that a part of the relay keeps for itself, outside the pool."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncEngine


@asynccontextmanager
async def own_connection(
    engine: AsyncEngine, *, idle_seconds: float | None = None
) -> AsyncIterator[asyncpg.Connection]:
    """Made as the engine makes its own, but taken out of its pool, and ended at once when left.

    PostgreSQL ends the session itself when it hears nothing for `idle_seconds`, or when the network below it is dead.
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
            # A polite close waits for a server that may be gone.
            driver.terminate()

"""The web server's own small connection pool, so that pages and the consumer never wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.db import snapshot as database_snapshot

POOL_SIZE: Final = 3
TIMEOUT_SECONDS: Final = 3.0


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Open a connection on which all reads see one moment. Raises TimeoutError after TIMEOUT_SECONDS in all."""
    async with asyncio.timeout(TIMEOUT_SECONDS), database_snapshot.snapshot(engine) as conn:
        yield conn

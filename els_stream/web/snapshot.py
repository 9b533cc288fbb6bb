"""The web's own door to the database: a few connections, so that pages and intake never wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

CONNECTIONS: Final = 3
ANSWER_SECONDS: Final = 3.0


@asynccontextmanager
async def snapshot(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Everything read in the body is of one moment; raises TimeoutError rather than let a person wait."""
    async with asyncio.timeout(ANSWER_SECONDS), engine.connect() as plain:
        yield await plain.execution_options(isolation_level="REPEATABLE READ")

"""How commands ask the database: one snapshot, and one line instead of a traceback when it does not answer."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import create_async_engine

from els_stream.config.urls import mask_password
from els_stream.db import schema
from els_stream.db.engine import create_engine, limits_of
from els_stream.db.errors import DATABASE_ERRORS, classify
from els_stream.errors import ServersUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from els_stream.config.settings import Settings


@asynccontextmanager
async def snapshot(settings: Settings) -> AsyncIterator[AsyncConnection]:
    """Everything read on it is of one moment. Its statements may read whole tables, unlike a worker's."""
    engine = create_async_engine(settings.database, isolation_level="REPEATABLE READ", pool_size=1)
    async with _answering(settings, engine), engine.connect() as conn:
        await schema.require(conn)
        yield conn


@asynccontextmanager
async def writing(settings: Settings, connections: int = 1) -> AsyncIterator[AsyncEngine]:
    """An engine with a worker's limits."""
    engine = create_engine(settings.database, limits_of(settings), pool_size=connections, name="els command")
    async with _answering(settings, engine):
        async with engine.connect() as conn:
            await schema.require(conn)
        yield engine


@asynccontextmanager
async def _answering(settings: Settings, engine: AsyncEngine) -> AsyncIterator[None]:
    try:
        yield
    except DATABASE_ERRORS as error:
        shown = mask_password(settings.database)
        raise ServersUnavailable(f"the database {shown} does not answer: {classify(error).cause}") from error
    finally:
        await engine.dispose()

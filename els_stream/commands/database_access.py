"""Database access of the commands: a snapshot or an engine, and ServersUnavailable if the database does not answer."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from els_stream.db import schema
from els_stream.db import snapshot as database_snapshot
from els_stream.db.engine import Limits, create_engine, create_report_engine
from els_stream.db.explanations import explained

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from els_stream.config.settings import Settings


@asynccontextmanager
async def snapshot(settings: Settings) -> AsyncIterator[AsyncConnection]:
    """Open a connection on which all reads see one moment. It has no statement limits: it may read whole tables."""
    engine = create_report_engine(lambda: settings.database, settings.database_connect_timeout_seconds)
    async with _reporting_outages(settings, engine), database_snapshot.snapshot(engine) as conn:
        await schema.require(conn)
        yield conn


@asynccontextmanager
async def writing(settings: Settings, connections: int = 1) -> AsyncIterator[AsyncEngine]:
    """Open an engine with the time limits of a worker."""
    engine = create_engine(
        lambda: settings.database, Limits.from_settings(settings), pool_size=connections, name="els command"
    )
    async with _reporting_outages(settings, engine):
        async with engine.connect() as conn:
            await schema.require(conn)
        yield engine


@asynccontextmanager
async def _reporting_outages(settings: Settings, engine: AsyncEngine) -> AsyncIterator[None]:
    try:
        with explained(settings.database):
            yield
    finally:
        await engine.dispose()

"""A process that is stopped in the middle of a transaction holds nobody up for longer than the limits say."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.db.engine import Limits, create_engine

LIMITS = Limits(statement=0.4, idle_in_transaction=0.2)
BEFORE_EXECUTION = "prepared"

MAKE = text("CREATE TABLE hostages (name text)")
TAKE = text("LOCK TABLE hostages IN ACCESS EXCLUSIVE MODE")


async def stop(conn: AsyncConnection, where: str) -> None:
    if where == BEFORE_EXECUTION:
        raw = await conn.get_raw_connection()
        assert raw.driver_connection is not None
        await raw.driver_connection.prepare("SELECT name FROM hostages")


@pytest.mark.parametrize("where", ["idle", BEFORE_EXECUTION])
async def test_its_locks_are_free_again_in_time(database: str, engine: AsyncEngine, where: str) -> None:
    url = make_url(database).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    stopped = create_engine(url, LIMITS, pool_size=1)
    async with engine.begin() as conn:
        await conn.execute(MAKE)
    conn = await stopped.connect()
    await conn.execute(TAKE)
    await stop(conn, where)

    async with asyncio.timeout(5), engine.begin() as other:
        await other.execute(text("SET LOCAL lock_timeout = '5s'"))
        await other.execute(TAKE)

    await conn.invalidate()
    await conn.close()
    await stopped.dispose()

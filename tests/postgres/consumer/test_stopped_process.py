"""A process that is stopped in the middle of a transaction blocks others only within the limits of the engine."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.db.engine import Limits, create_engine

LIMITS = Limits(statement=0.4, idle_in_transaction=0.2)
BEFORE_EXECUTION = "prepared"

CREATE = text("CREATE TABLE hostages (name text)")
LOCK = text("LOCK TABLE hostages IN ACCESS EXCLUSIVE MODE")


async def stop(conn: AsyncConnection, where: str) -> None:
    if where == BEFORE_EXECUTION:
        raw = await conn.get_raw_connection()
        assert raw.driver_connection is not None
        await raw.driver_connection.prepare("SELECT name FROM hostages")


@pytest.mark.parametrize("where", ["idle", BEFORE_EXECUTION])
async def test_the_locks_of_a_stopped_process_are_released(database: str, engine: AsyncEngine, where: str) -> None:
    url = make_url(database).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    stopped = create_engine(url, LIMITS, pool_size=1)
    async with engine.begin() as conn:
        await conn.execute(CREATE)
    conn = await stopped.connect()
    await conn.execute(LOCK)
    await stop(conn, where)

    async with asyncio.timeout(5), engine.begin() as other:
        await other.execute(text("SET LOCAL lock_timeout = '5s'"))
        await other.execute(LOCK)

    await conn.invalidate()
    await conn.close()
    await stopped.dispose()

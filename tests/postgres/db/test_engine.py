from __future__ import annotations

import asyncio

from sqlalchemy import make_url

from els_stream.db.engine import Limits, PoolUsage, create_engine, pool_usage
from tests.support.worker_process import until


async def test_tasks_that_wait_for_a_connection_are_counted(database: str) -> None:
    url = make_url(database).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    engine = create_engine(url, Limits(), pool_size=1)

    async def one_waits() -> bool:
        return pool_usage(engine).waiting == 1

    try:
        async with engine.connect():
            assert pool_usage(engine) == PoolUsage(size=1, open=1, checked_out=1, waiting=0)
            late = asyncio.create_task(engine.connect().start())
            await until(one_waits)

        conn = await late

        assert pool_usage(engine) == PoolUsage(size=1, open=1, checked_out=1, waiting=0)
        await conn.close()
        assert pool_usage(engine) == PoolUsage(size=1, open=1, checked_out=0, waiting=0)
    finally:
        await engine.dispose()

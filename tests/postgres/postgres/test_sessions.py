"""Sessions have the settings that the service needs, whatever database and role are set to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db.engine import Limits, create_engine, create_report_engine
from els_stream.db.errors import FailureClass, classify
from els_stream.db.stale_sessions import require_writable
from els_stream.postgres.connect import connect_once
from els_stream.postgres.session import ReadOnlyServer

SETTINGS = text("""
    SELECT current_setting('transaction_isolation'), current_setting('synchronous_commit'),
        current_setting('statement_timeout'), current_setting('enable_seqscan'), current_setting('idle_session_timeout')
""")
WRITE = text("CREATE TABLE otters (name text)")
ONE = text("SELECT 1")


async def set_for_all(database: str, **settings: str) -> None:
    """Change the database's settings, for sessions that begin afterwards."""
    session = await connect_once(database)
    for name, value in settings.items():
        await session.execute(f"ALTER DATABASE \"{make_url(database).database}\" SET {name} = '{value}'")
    await session.close()


@asynccontextmanager
async def disposed(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    try:
        yield engine
    finally:
        await engine.dispose()


async def test_settings_of_database_and_address_change_nothing(database: str) -> None:
    await set_for_all(
        database,
        default_transaction_isolation="repeatable read",
        synchronous_commit="off",
        statement_timeout="5000",
        enable_seqscan="on",
        idle_session_timeout="5000",
    )
    hostile = f"{database}?options=-c%20statement_timeout%3D7%20-c%20synchronous_commit%3Dlocal"

    for url in (database, hostile):
        async with disposed(create_engine(url, Limits(statement=9))) as engine, engine.connect() as conn:
            assert tuple((await conn.execute(SETTINGS)).one()) == ("read committed", "on", "9s", "off", "0")
    async with disposed(create_report_engine(database)) as engine, engine.connect() as conn:
        assert tuple((await conn.execute(SETTINGS)).one()) == ("read committed", "on", "0", "on", "0")


async def test_a_stronger_synchronous_commit_stays(database: str) -> None:
    await set_for_all(database, synchronous_commit="remote_apply")

    async with disposed(create_engine(database, Limits())) as engine, engine.connect() as conn:
        assert (await conn.execute(SETTINGS)).one()[1] == "remote_apply"


async def test_a_server_that_is_read_only_serves_reports_only(database: str) -> None:
    await set_for_all(database, default_transaction_read_only="on")

    async with disposed(create_report_engine(database)) as engine, engine.connect() as conn:
        assert await conn.scalar(ONE) == 1
    async with disposed(create_engine(database, Limits())) as engine:
        with pytest.raises(ReadOnlyServer) as caught:
            await engine.connect()
    assert classify(caught.value).failure_class is FailureClass.TRANSIENT
    assert classify(caught.value).cause == "25006"


async def test_one_session_on_a_read_only_server_ends_the_sessions_of_all_pools(database: str) -> None:
    """The second engine only reads, so it gets no error of its own."""
    async with (
        disposed(create_engine(database, Limits(), pool_size=1)) as writing,
        disposed(create_engine(database, Limits(), pool_size=1)) as reading,
    ):
        pid = text("SELECT pg_backend_pid()")
        async with writing.connect() as conn:
            first = await conn.scalar(pid)
        async with reading.connect() as conn:
            second = await conn.scalar(pid)
        async with writing.connect() as conn:
            assert await conn.scalar(pid) == first
            await conn.rollback()
            await conn.execute(text("SET default_transaction_read_only = on"))
            await conn.commit()
            with pytest.raises(DBAPIError, match="read-only transaction"):
                await conn.execute(WRITE)

        async with writing.connect() as conn:
            await conn.execute(WRITE)
            assert await conn.scalar(pid) != first
        async with reading.connect() as conn:
            assert await conn.scalar(pid) != second


async def test_a_check_finds_a_read_only_server_without_a_write(database: str) -> None:
    async with disposed(create_engine(database, Limits(), pool_size=1)) as engine:
        async with engine.connect() as conn:
            await conn.execute(text("SET default_transaction_read_only = on"))
            await conn.commit()
            with pytest.raises(ReadOnlyServer):
                await require_writable(conn)
        async with engine.connect() as conn:
            await require_writable(conn)


async def test_a_new_password_is_used_at_the_next_connection(database: str) -> None:
    url = make_url(database)
    urls = [database, url.set(password="wrong").render_as_string(hide_password=False)]

    async with disposed(create_engine(lambda: urls[0], Limits(), pool_size=1)) as engine:
        async with engine.connect() as conn:
            assert await conn.scalar(ONE) == 1
        urls.reverse()
        await engine.dispose()
        with pytest.raises(DBAPIError, match="password authentication failed"):
            await engine.connect()
        urls.reverse()
        async with engine.connect() as conn:
            assert await conn.scalar(ONE) == 1

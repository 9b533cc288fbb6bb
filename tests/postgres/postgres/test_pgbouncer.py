"""PgBouncer between: session mode works as no pooler does, the other modes are refused with the line that helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db.engine import Limits, create_engine
from els_stream.db.errors import DATABASE_ERRORS, FailureClass, classify
from els_stream.embedded.servers import Addresses
from els_stream.errors import DatabaseUnusable
from els_stream.postgres.connect import Connector
from els_stream.postgres.session import SessionNeeds
from els_stream.relay.dedicated_connection import dedicated_connection
from tests.support.cli import els, els_process
from tests.support.local_postgres import USER
from tests.support.packaged_servers import find_pgbouncer, required
from tests.support.pgbouncer import PgBouncer, configuration
from tests.support.secure_postgres import SecureServer
from tests.support.waiting import until

LIMITS = text("SELECT current_setting('statement_timeout'), current_setting('synchronous_commit')")
NEEDS = SessionNeeds(name="els test")


@pytest.fixture
async def bouncer(tmp_path: Path) -> AsyncIterator[PgBouncer]:
    bouncer = PgBouncer(required(find_pgbouncer(), "PgBouncer"), tmp_path)
    yield bouncer
    await bouncer.stop()


async def start(bouncer: PgBouncer, secure: SecureServer, mode: str = "session", **options: object) -> None:
    bouncer.configure(configuration(bouncer, secure.server.port, mode=mode, **options))
    await bouncer.start()


async def test_session_mode_keeps_limits_locks_and_notifications(
    bouncer: PgBouncer, secure_server: SecureServer
) -> None:
    await start(bouncer, secure_server)
    engine = create_engine(bouncer.url(USER), Limits(statement=9), pool_size=3)
    try:
        async with engine.connect() as conn:
            assert tuple((await conn.execute(LIMITS)).one()) == ("9s", "on")
        heard = asyncio.Event()
        async with dedicated_connection(engine) as listener, engine.begin() as conn:
            await listener.add_listener("otters", lambda *_: heard.set())
            await conn.execute(text("NOTIFY otters"))
            await conn.commit()
            await asyncio.wait_for(heard.wait(), 10)
    finally:
        await engine.dispose()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
async def test_modes_without_sessions_are_refused(bouncer: PgBouncer, secure_server: SecureServer, mode: str) -> None:
    await start(bouncer, secure_server, mode=mode)

    for _ in range(2):  # the second time, backends are there already
        with pytest.raises(DatabaseUnusable, match="pool_mode=session"):
            await Connector(bouncer.url(USER), NEEDS).connect()

    for command in ("verify", "migrate"):
        ended = await els({"ELS_DATABASE_URL": bouncer.url(USER), "ELS_BROKER_URL": "127.0.0.1:1"}, command)
        assert (ended.exit_code, ended.stderr.count("\n")) == (2, 1)
        assert "pool_mode=session" in ended.stderr


async def test_a_worker_behind_transaction_mode_ends_with_the_advice(
    bouncer: PgBouncer, secure_server: SecureServer, addresses: Addresses
) -> None:
    await start(bouncer, secure_server, mode="transaction")
    environment = {"ELS_DATABASE_URL": bouncer.url(USER), "ELS_BROKER_URL": addresses.broker}

    code, _, stderr = await els_process(environment, "worker", "--web-port", "0")

    assert code == 2
    assert "pool_mode=session" in stderr.splitlines()[-1]
    assert "Traceback" not in stderr


async def test_transaction_mode_is_recognised_beside_other_clients(
    bouncer: PgBouncer, secure_server: SecureServer
) -> None:
    """They take and return backends all the time, so the next statement may run anywhere."""
    await start(bouncer, secure_server, mode="transaction", server_round_robin=1)
    over = asyncio.Event()

    async def work() -> None:
        session = await asyncpg.connect(bouncer.url(USER), statement_cache_size=0)
        while not over.is_set():
            await session.execute("BEGIN; SELECT 1; COMMIT")
        await session.close()

    others = [asyncio.create_task(work()) for _ in range(4)]
    try:
        for _ in range(10):
            with pytest.raises(DatabaseUnusable, match="pool_mode=session"):
                await Connector(bouncer.url(USER), NEEDS).connect()
    finally:
        over.set()
        await asyncio.gather(*others)


async def test_a_mode_that_changes_under_a_running_engine_is_an_error_to_wait_for(
    bouncer: PgBouncer, secure_server: SecureServer
) -> None:
    """The records are not at fault, so no error of it may make one a dead letter."""
    await start(bouncer, secure_server)
    engine = create_engine(bouncer.url(USER), Limits(), pool_size=4)
    try:
        async with engine.connect() as conn:
            await conn.execute(LIMITS)
        await bouncer.stop()
        await start(bouncer, secure_server, mode="transaction", default_pool_size=2)

        seen = await asyncio.gather(*(classes_of_errors(engine, rounds=5) for _ in range(4)))

        assert set().union(*seen) == {FailureClass.TRANSIENT}
    finally:
        await engine.dispose()


async def classes_of_errors(engine: AsyncEngine, rounds: int) -> set[FailureClass]:
    classes: set[FailureClass] = set()
    for _ in range(rounds):
        try:
            async with engine.begin() as conn:
                await conn.execute(LIMITS)
        except DATABASE_ERRORS as error:
            classes.add(classify(error).failure_class)
    return classes


async def test_a_parameter_that_the_pooler_refuses_is_named(bouncer: PgBouncer, secure_server: SecureServer) -> None:
    await start(bouncer, secure_server)

    with pytest.raises(DatabaseUnusable, match="unsupported startup parameter: options"):
        await Connector(bouncer.url(USER, "?options=-c%20work_mem%3D1MB"), NEEDS).connect()


async def test_a_database_that_is_away_behind_the_pooler_costs_our_own_time_limit(
    bouncer: PgBouncer, secure_server: SecureServer
) -> None:
    """PgBouncer answers log-ins from memory, and keeps the first statement waiting for two minutes."""
    await start(bouncer, secure_server)
    engine = create_engine(bouncer.url(USER), Limits(connect=1), pool_size=1)
    try:
        async with engine.connect() as conn:
            await conn.execute(LIMITS)
        secure_server.server.pause()
        await engine.dispose()
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            await engine.connect()
        assert time.monotonic() - started < 60
    finally:
        secure_server.server.resume()

    async def back() -> bool:
        try:
            async with engine.connect() as conn:
                return bool(await conn.scalar(text("SELECT true")))
        except (DBAPIError, OSError):
            return False

    await until(back, seconds=20)
    await engine.dispose()

"""The clock of a server can be stepped while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.postgres.connect import connect_once
from tests.support.paths import reachable_folder
from tests.support.stepped_clock import SteppedClock

STEPS = (timedelta(minutes=-90), timedelta(minutes=90))
LOCK, UNLOCK = "SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock(1)"
DEADLINE_SECONDS = 20


@dataclass
class SteppedServer:
    """A clock, and two sessions of the PostgreSQL that has it."""

    clock: SteppedClock
    session: asyncpg.Connection
    other: asyncpg.Connection


@pytest.fixture
async def stepped() -> AsyncIterator[SteppedServer]:
    with reachable_folder() as folder:
        clock = SteppedClock(folder / "clock")
        postgres = EmbeddedPostgres(folder, fsync=False, environment=clock.environment)
        await postgres.start()
        try:
            server = SteppedServer(clock, await connect_once(postgres.url), await connect_once(postgres.url))
            yield server
            await server.session.close()
            await server.other.close()
        finally:
            await postgres.stop()


@pytest.mark.parametrize("step", STEPS)
async def test_an_open_session_gets_the_time_after_a_step(stepped: SteppedServer, step: timedelta) -> None:
    async def difference() -> timedelta:
        now: datetime = await stepped.session.fetchval("SELECT clock_timestamp()")
        return now - datetime.now(UTC)

    assert abs(await difference()) < timedelta(minutes=1)

    stepped.clock.set(step.total_seconds())

    assert abs(await difference() - step) < timedelta(minutes=1)


@pytest.mark.parametrize("step", STEPS)
async def test_no_timeout_is_due_early_after_a_step(stepped: SteppedServer, step: timedelta) -> None:
    """All timeouts are judged when one of them goes off: here the one after which a waiting session looks around."""
    went_off = asyncio.Event()
    stepped.clock.set(step.total_seconds())
    await stepped.session.execute(
        "SET statement_timeout = '60s'; SET deadlock_timeout = '20ms'; SET log_lock_waits = on; "
        "SET client_min_messages = log"
    )
    stepped.session.add_log_listener(lambda *_: went_off.set())
    await stepped.other.execute(LOCK)
    async with asyncio.timeout(DEADLINE_SECONDS):
        waiting = asyncio.create_task(stepped.session.execute(LOCK))
        await asyncio.wait({waiting, asyncio.create_task(went_off.wait())}, return_when=asyncio.FIRST_COMPLETED)

        await stepped.other.execute(UNLOCK)

        assert await waiting == "SELECT 1"
        assert went_off.is_set()


@pytest.mark.parametrize("step", STEPS)
async def test_a_timeout_is_due_in_time_after_a_step(stepped: SteppedServer, step: timedelta) -> None:
    stepped.clock.set(step.total_seconds())
    await stepped.session.execute("SET statement_timeout = '200ms'; SET deadlock_timeout = '20ms'")
    await stepped.other.execute(LOCK)

    async with asyncio.timeout(DEADLINE_SECONDS):
        with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
            await stepped.session.execute(LOCK)

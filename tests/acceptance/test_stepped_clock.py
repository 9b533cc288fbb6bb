"""The clock of a server can be stepped while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.postgres.connect import connect_once
from tests.support.paths import reachable_folder
from tests.support.stepped_clock import SteppedClock

STEPS = (timedelta(minutes=-90), timedelta(minutes=90))


@pytest.fixture
async def stepped() -> AsyncIterator[tuple[SteppedClock, asyncpg.Connection]]:
    """A clock and a session of the PostgreSQL that has it."""
    with reachable_folder() as folder:
        clock = SteppedClock(folder / "clock")
        postgres = EmbeddedPostgres(folder, fsync=False, environment=clock.environment)
        await postgres.start()
        try:
            session = await connect_once(postgres.url)
            yield clock, session
            await session.close()
        finally:
            await postgres.stop()


@pytest.mark.parametrize("step", STEPS)
async def test_an_open_session_gets_the_time_after_a_step(
    stepped: tuple[SteppedClock, asyncpg.Connection], step: timedelta
) -> None:
    clock, session = stepped

    async def difference() -> timedelta:
        now: datetime = await session.fetchval("SELECT clock_timestamp()")
        return now - datetime.now(UTC)

    assert abs(await difference()) < timedelta(minutes=1)

    clock.set(step.total_seconds())

    assert abs(await difference() - step) < timedelta(minutes=1)


@pytest.mark.parametrize("step", STEPS)
async def test_timeouts_after_a_step_are_due_as_set(
    stepped: tuple[SteppedClock, asyncpg.Connection], step: timedelta
) -> None:
    clock, session = stepped
    clock.set(step.total_seconds())
    # Its timer goes off while the statement waits, and the other timeouts are judged then.
    await session.execute("SET client_connection_check_interval = '20ms'; SET statement_timeout = '60s'")

    await session.execute("SELECT pg_sleep(0.2)")

    await session.execute("SET statement_timeout = '200ms'")
    with pytest.raises(asyncpg.QueryCanceledError, match="statement timeout"):
        await session.execute("SELECT pg_sleep(60)")

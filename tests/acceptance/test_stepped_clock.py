"""The clock of a server can be stepped while it runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.postgres.connect import connect_once
from tests.support.paths import reachable_folder
from tests.support.stepped_clock import SteppedClock
from tests.support.waiting import until

STEP = timedelta(minutes=-90)


async def test_an_open_session_gets_the_time_after_a_step() -> None:
    with reachable_folder() as folder:
        clock = SteppedClock(folder / "clock")
        postgres = EmbeddedPostgres(folder, fsync=False, environment=clock.environment)
        await postgres.start()
        try:
            session = await connect_once(postgres.url)

            async def is_at(step: timedelta) -> bool:
                now: datetime = await session.fetchval("SELECT clock_timestamp()")
                return abs(now - datetime.now(UTC) - step) < timedelta(minutes=1)

            assert await is_at(timedelta(0))

            clock.set(STEP.total_seconds())

            await until(lambda: is_at(STEP))
            await session.close()
        finally:
            await postgres.stop()

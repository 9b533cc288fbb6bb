"""A session that listens and never ends its transaction fills the server's queue of notifications."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import asyncpg
import pytest
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from els_stream.db import migration
from els_stream.db.engine import Limits, create_engine
from els_stream.db.errors import ClassifiedError, FailureClass, classify
from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.queries.outbox import CHANNEL, FULL_QUEUE, put
from els_stream.relay import Relay, service
from tests.support.batch_harness import BatchHarness
from tests.support.micro_batches import MicroBatchRunner
from tests.support.outbox_rows import row
from tests.support.waiting import until

# The smallest queue that PostgreSQL accepts: half a megabyte. The default of eight gigabytes takes long to fill.
SMALL_QUEUE: Final = "ALTER SYSTEM SET max_notify_queue_pages = 64"
LISTENER_RUNS: Final = text("""
    SELECT true FROM pg_stat_activity
    WHERE query = 'SELECT pg_notification_queue_usage()' AND pid <> pg_backend_pid()
""")
FILL: Final = "SELECT pg_notify('neighbour', repeat('x', 7900))"


async def start(server: EmbeddedPostgres) -> None:
    await server.start()
    conn = await asyncpg.connect(server.url)
    await conn.execute(SMALL_QUEUE)
    await conn.close()
    await server.stop()
    await server.start()
    await migration.upgrade(server.url)


@pytest.fixture(scope="module")
def small_queue() -> Iterator[str]:
    """The URL of a migrated database on a server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder), fsync=False)
        try:
            asyncio.run(start(server))
            yield server.url
        finally:
            asyncio.run(server.stop())
            server.remove_data()


@pytest.fixture
async def small_queue_engine(small_queue: str) -> AsyncIterator[AsyncEngine]:
    url = make_url(small_queue).set(drivername="postgresql+asyncpg")
    engine = create_engine(url.render_as_string(hide_password=False), Limits(), pool_size=4, name="els test")
    yield engine
    await engine.dispose()


@asynccontextmanager
async def full_queue(url: str) -> AsyncIterator[None]:
    """Fill the queue behind a listener whose transaction stays open."""
    listener, sender = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await listener.execute("LISTEN neighbour")
        await listener.execute("BEGIN")
        await listener.fetchval("SELECT txid_current()")
        with suppress(asyncpg.ProgramLimitExceededError):
            while True:
                await sender.execute(FILL)
        yield
    finally:
        await listener.close()
        await sender.close()


async def test_records_are_committed_while_the_queue_is_full(small_queue: str, small_queue_engine: AsyncEngine) -> None:
    harness = BatchHarness(engine=small_queue_engine)
    runner = MicroBatchRunner(small_queue_engine, harness.handlers[harness.content().topic])
    await harness.together(harness.registration(essays=2))
    await runner.initialize()

    async with full_queue(small_queue):
        assert await runner.micro_batch([harness.content(0)]) == ["assigned"]

    assert await runner.micro_batch([harness.content(1)]) == ["assigned"]


async def test_relays_are_notified_while_the_queue_has_room(small_queue: str, small_queue_engine: AsyncEngine) -> None:
    relay = await asyncpg.connect(small_queue)
    notified: list[object] = []
    await relay.add_listener(CHANNEL, lambda *received: notified.append(received))

    async with small_queue_engine.begin() as conn:
        await put(conn, [row("batch-of-9b", 1)])

    await until(lambda: bool(notified))
    await relay.close()


async def test_a_full_queue_at_commit_is_a_transient_failure(small_queue: str, small_queue_engine: AsyncEngine) -> None:
    async with full_queue(small_queue):
        with pytest.raises(DBAPIError) as caught:
            async with small_queue_engine.begin() as conn:
                await conn.execute(text("SELECT pg_notify('neighbour', '')"))

    assert classify(caught.value) == ClassifiedError(FailureClass.TRANSIENT, "54000")


async def listens(engine: AsyncEngine) -> bool:
    """Return whether the listener of a relay checks the queue."""
    async with engine.connect() as conn:
        return bool(await conn.scalar(LISTENER_RUNS))


async def test_a_relay_logs_that_the_queue_is_full_and_that_it_is_free_again(
    small_queue: str, small_queue_engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LISTENER_CHECK_INTERVAL_SECONDS", 1.0)
    relay = Relay(small_queue_engine, broker="127.0.0.1:1")

    with capture_logs() as logs:

        def logged() -> list[str]:
            return [line["event"] for line in logs if line["event"].startswith("notification_queue")]

        await relay.start()
        try:
            await until(partial(listens, small_queue_engine))
            async with full_queue(small_queue):
                await until(lambda: logged()[-1:] == ["notification_queue_full"], seconds=30)
            await until(lambda: logged()[-1:] == ["notification_queue_free"], seconds=30)
        finally:
            await relay.stop()

    *_, full, free = (line for line in logs if line["event"].startswith("notification_queue"))
    assert full["used"] >= FULL_QUEUE > free["used"]

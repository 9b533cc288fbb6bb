"""The embedded primary and its standby: a failover loses no commit, and the old primary comes back."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from els_stream.embedded.postgres_pair import IS_IN_SYNC, Loss, PostgresPair
from els_stream.errors import ConfigurationError
from els_stream.postgres.connect import Connector
from els_stream.postgres.session import SessionNeeds
from tests.support.paths import reachable_folder
from tests.support.waiting import until

IS_STANDBY = "SELECT pg_is_in_recovery()"
COMMITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
NAMES = "SELECT string_agg(name, ' ' ORDER BY name) FROM otters"


@pytest.fixture(scope="module")
def pair() -> Iterator[PostgresPair]:
    with reachable_folder() as folder:
        pair = PostgresPair(folder, fsync=False)
        asyncio.run(pair.start())
        asyncio.run(ask(pair.url, "CREATE TABLE otters (name text)"))
        yield pair
        asyncio.run(pair.stop())


async def ask(url: str, question: str) -> object:
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(question)
    finally:
        await conn.close()


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """Assert that the folder is not replaced by another; an open one keeps its number."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        yield
        assert os.path.samestat(os.fstat(opened), folder.stat())
    finally:
        os.close(opened)


@pytest.mark.parametrize("loss", Loss)
async def test_the_standby_takes_over_with_every_commit(pair: PostgresPair, loss: Loss) -> None:
    await pair.primary.ask("INSERT INTO otters VALUES ('kept')")
    before, after = pair.primary, pair.standby

    await pair.promote(loss)

    assert pair.primary is after
    assert await ask(pair.url, NAMES) == "kept"
    assert await ask(pair.url, IS_STANDBY) is False
    with kept(before.data):
        await pair.rejoin()
    assert await before.ask(IS_STANDBY) is True
    await pair.primary.ask("DELETE FROM otters")


@pytest.mark.parametrize("cancelled", [False, True], ids=["too late", "cancelled"])
async def test_no_one_sees_a_commit_that_was_given_up_before_the_standby_has_it(
    pair: PostgresPair, *, cancelled: bool
) -> None:
    settings = {"statement_timeout": "300", "transaction_timeout": "500", "lock_timeout": "300"}
    needs = SessionNeeds(name="els test", settings=settings, command_timeout=None if cancelled else 1)
    session = await Connector(pair.url, needs).connect()
    try:
        await pair.standby.crash()
        transaction = session.transaction()
        await transaction.start()
        await session.execute("INSERT INTO otters VALUES ('early')")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1 if cancelled else None):
                await transaction.commit()

        assert await ask(pair.url, NAMES) is None
        assert await ask(pair.url, COMMITS) == 1
        await until(session.is_closed)
    finally:
        session.terminate()
        await pair.standby.start()
    await pair.primary.until(IS_IN_SYNC)
    await pair.primary.until(f"SELECT ({NAMES}) = 'early'")
    await pair.primary.ask("DELETE FROM otters")


async def test_an_old_primary_loses_what_the_new_one_lacks(pair: PostgresPair) -> None:
    await pair.standby.crash()
    await ask(pair.primary.url + "?options=-csynchronous_commit=local", "INSERT INTO otters VALUES ('lost')")
    with pytest.raises(ConfigurationError, match="does not have all"):
        await pair.promote()
    old = pair.primary
    await old.crash()
    await pair.standby.start()

    await pair.promote()
    with kept(old.data):
        await pair.rejoin()

    assert await old.ask(IS_STANDBY) is True
    assert await old.ask(NAMES) is None


async def test_an_old_primary_that_cannot_be_rewound_gets_a_copy(pair: PostgresPair) -> None:
    old = pair.primary
    await pair.promote(Loss.CRASH)
    (old.data / "global" / "pg_control").unlink()

    await pair.rejoin()

    assert await old.ask(IS_STANDBY) is True

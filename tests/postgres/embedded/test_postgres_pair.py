"""The embedded primary and its standby: a failover loses no commit, and the old primary comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from els_stream.embedded.postgres_pair import Loss, Member, PostgresPair
from els_stream.errors import ConfigurationError
from tests.support.paths import reachable_folder

IS_STANDBY = "SELECT pg_is_in_recovery()"
NAMES = "SELECT string_agg(name, ' ' ORDER BY name) FROM otters"


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[PostgresPair]:
    with reachable_folder() as folder:
        pair = PostgresPair(folder, fsync=False)
        await pair.start()
        await pair.primary.ask("CREATE TABLE otters (name text)")
        yield pair
        await pair.stop()


def data_of(member: Member) -> int:
    """Return what changes when the data folder is a new copy."""
    return member.data.stat().st_ino


async def ask(url: str, question: str) -> object:
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(question)
    finally:
        await conn.close()


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("loss", Loss)
async def test_the_standby_takes_over_with_every_commit(pair: PostgresPair, loss: Loss) -> None:
    await pair.primary.ask("INSERT INTO otters VALUES ('kept')")
    before, after = pair.primary, pair.standby

    await pair.promote(loss)

    assert pair.primary is after
    assert await ask(pair.url, NAMES) == "kept"
    assert await ask(pair.url, IS_STANDBY) is False
    await pair.rejoin()
    assert await before.ask(IS_STANDBY) is True
    await pair.primary.ask("DELETE FROM otters")


@pytest.mark.asyncio(loop_scope="module")
async def test_an_old_primary_is_rewound_when_it_has_what_the_new_one_lacks(pair: PostgresPair) -> None:
    await pair.standby.crash()
    await ask(pair.primary.url + "?options=-csynchronous_commit=local", "INSERT INTO otters VALUES ('lost')")
    with pytest.raises(ConfigurationError, match="does not have all"):
        await pair.promote()
    old, kept = pair.primary, data_of(pair.primary)
    await old.crash()
    await pair.standby.start()

    await pair.promote()
    await pair.rejoin()

    assert await old.ask(NAMES) is None
    assert data_of(old) == kept


@pytest.mark.asyncio(loop_scope="module")
async def test_an_old_primary_that_cannot_be_rewound_gets_a_copy(pair: PostgresPair) -> None:
    old, broken = pair.primary, data_of(pair.primary)
    await pair.promote(Loss.CRASH)
    (old.data / "global" / "pg_control").unlink()

    await pair.rejoin()

    assert await old.ask(IS_STANDBY) is True
    assert data_of(old) != broken

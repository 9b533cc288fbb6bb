from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool
from structlog.testing import capture_logs

from els_stream.db import migration, schema
from els_stream.db.schema import Current, Newer, Outdated
from els_stream.errors import SchemaOutdated, ServersUnavailable
from tables import Base
from tests.support.catalogue import catalogue
from tests.support.cli import els
from tests.support.waiting import until

pytestmark = pytest.mark.integration

HEAD = "0014"
WAITERS = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'els migrate'")
IN_TRANSACTION = text("""
    SELECT count(*) FROM pg_stat_activity WHERE application_name = 'els migrate' AND xact_start IS NOT NULL
""")


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    async with engine.connect() as conn:
        yield conn
    await engine.dispose()


async def test_migrations_and_tables_describe_the_same_catalogue(
    empty_database: str, another_empty_database: str
) -> None:
    await migration.upgrade(empty_database)
    async with connected(another_empty_database) as conn:
        await conn.run_sync(Base.metadata.create_all)
        created = await catalogue(conn)

    async with connected(empty_database) as conn:
        migrated = await catalogue(conn)

    assert created == migrated
    assert created["constraints"]


async def test_downgrade_to_base_leaves_nothing(empty_database: str) -> None:
    async with connected(empty_database) as conn:
        before = await catalogue(conn)
    await migration.upgrade(empty_database)

    await migration.downgrade(empty_database, "base")

    async with connected(empty_database) as conn:
        assert await catalogue(conn) == before
        assert await schema.check(conn) == Outdated(None, HEAD)


async def test_a_database_without_schema_raises_with_the_command_that_helps(empty_database: str) -> None:
    async with connected(empty_database) as conn:
        with pytest.raises(SchemaOutdated, match=r"has no schema.*run `els migrate`"):
            await schema.require(conn)


async def test_an_upgraded_database_is_current(empty_database: str) -> None:
    await migration.upgrade(empty_database)

    async with connected(empty_database) as conn:
        assert await schema.check(conn) == Current(HEAD)
        await schema.require(conn)


async def test_an_unknown_revision_is_newer_and_accepted_with_a_warning(
    empty_database: str,
) -> None:
    await migration.upgrade(empty_database)
    async with connected(empty_database) as conn:
        await conn.execute(text("UPDATE els_schema_version SET version_num = '9999'"))

        assert await schema.check(conn) == Newer("9999", HEAD)
        with capture_logs() as logs:
            await schema.require(conn)

    assert [(line["log_level"], line["have"], line["known"]) for line in logs] == [("warning", "9999", HEAD)]


async def test_a_revision_before_the_head_is_outdated(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await migration.upgrade(empty_database)
    monkeypatch.setattr(schema, "revisions", lambda: ("9999", frozenset({HEAD, "9999"})))

    async with connected(empty_database) as conn:
        assert await schema.check(conn) == Outdated(HEAD, "9999")
        with pytest.raises(SchemaOutdated, match=f"is at revision {HEAD}, this code needs 9999"):
            await schema.require(conn)


async def test_the_command_prints_the_revision_for_programs(database: str) -> None:
    result = await els({"ELS_BROKER_URL": "127.0.0.1:1", "ELS_DATABASE_URL": database}, "migrate", "--json")

    assert json.loads(result.stdout) == {"revision": HEAD}


async def test_an_upgrade_repeated_changes_nothing(empty_database: str) -> None:
    await migration.upgrade(empty_database)
    async with connected(empty_database) as conn:
        before = await catalogue(conn)

    await migration.upgrade(empty_database)

    async with connected(empty_database) as conn:
        assert await catalogue(conn) == before


async def test_the_alembic_command_migrates_there_and_back_from_the_checkout(empty_database: str) -> None:
    settings = {"ELS_DATABASE_URL": empty_database}
    assert await alembic(settings, "upgrade", "head") == (0, "")
    assert await alembic(settings, "check") == (0, "No new upgrade operations detected.\n")
    async with connected(empty_database) as conn:
        assert await schema.check(conn) == Current(HEAD)

    assert await alembic(settings, "downgrade", "-1") == (0, "")
    assert await alembic(settings, "downgrade", "base") == (0, "")
    async with connected(empty_database) as conn:
        assert await schema.check(conn) == Outdated(None, HEAD)


async def test_the_alembic_command_prints_a_wrong_address_as_one_line() -> None:
    code, printed = await alembic({"ELS_DATABASE_URL": "mysql://db/els"}, "current")

    assert (code, printed.count("\n")) == (255, 1), printed
    assert printed.startswith("FAILED: ELS_DATABASE_URL=mysql://***: must be postgresql://"), printed


async def alembic(settings: Mapping[str, str], *arguments: str) -> tuple[int | None, str]:
    """Run the command in the checkout; return its exit code, and stdout and stderr together."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "alembic", *arguments),
        cwd=schema.FOLDER.parent,
        env=os.environ | settings,
        stdout=PIPE,
        stderr=STDOUT,
    )
    printed, _ = await process.communicate()
    return process.returncode, printed.decode()


async def test_concurrent_migrations_wait_for_the_one_with_the_lock(empty_database: str) -> None:
    async with migration.migrating(empty_database), connected(empty_database) as observer:

        async def all_wait() -> bool:
            await observer.rollback()
            return bool(await observer.scalar(WAITERS) == 4)

        upgrades = [asyncio.create_task(migration.upgrade(empty_database)) for _ in range(3)]
        await until(all_wait)

        assert await schema.check(observer) == Outdated(None, HEAD)
        # A waiting migration must not have an open transaction: CREATE INDEX CONCURRENTLY waits for every older one.
        await until(lambda: no_transaction_is_open(observer))

    await asyncio.gather(*upgrades)
    async with connected(empty_database) as conn:
        assert await schema.check(conn) == Current(HEAD)


async def no_transaction_is_open(observer: AsyncConnection) -> bool:
    await observer.rollback()
    return bool(await observer.scalar(IN_TRANSACTION) == 0)


async def test_a_migration_gives_up_on_a_lock_that_is_never_released(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration, "LOCK_TIMEOUT_SECONDS", 0.3)

    async with migration.migrating(empty_database):
        with pytest.raises(ServersUnavailable, match="another migration"):
            await migration.upgrade(empty_database)


async def test_a_database_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(ServersUnavailable, match=r"127\.0\.0\.1:1/els does not answer") as caught:
        await migration.upgrade("postgresql://els:hunter2@127.0.0.1:1/els")

    assert "hunter2" not in str(caught.value)

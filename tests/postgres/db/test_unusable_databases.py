"""Databases that can't be used are refused; other applications and schemas beside ours are none of our business."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from els_stream.db import migration, schema
from els_stream.db.schema import Current, Outdated
from els_stream.db.suitability import OLDEST_POSTGRESQL, check_version
from els_stream.errors import ConfigurationError
from tests.support import database_of_0_1 as old
from tests.support.cli import els

HEAD = schema.revisions()[0]
NAMES = text("SELECT relname FROM pg_class WHERE relname ~ '^(alembic|els_schema)_version' ORDER BY relname")
ROLE, PASSWORD = "els_of_the_school", "s3cr3t-of-the-school"


@pytest.fixture
async def conn(empty_database: str) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(empty_database.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool)
    async with engine.connect() as conn:
        yield await conn.execution_options(isolation_level="AUTOCOMMIT")
    await engine.dispose()


@pytest.fixture
async def role_url(conn: AsyncConnection, empty_database: str) -> AsyncIterator[str]:
    """The URL of the empty database for a role that may connect and nothing more."""
    await conn.execute(text(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'"))
    yield f"postgresql://{ROLE}:{PASSWORD}@{empty_database.rpartition('@')[2]}"
    await conn.execute(text(f"DROP OWNED BY {ROLE}"))
    await conn.execute(text(f"DROP ROLE {ROLE}"))


async def line_of(url: str, *arguments: str) -> tuple[int, str]:
    ended = await els({"ELS_BROKER_URL": "127.0.0.1:1", "ELS_DATABASE_URL": url}, *arguments)
    return ended.exit_code, ended.stderr


async def test_the_table_with_the_revision_gets_its_new_name(conn: AsyncConnection, empty_database: str) -> None:
    """As in a database of 0.1.0, and of a state of 0.2.0 before the new name."""
    for revision in (old.REVISION, "0010"):
        await migration.upgrade(empty_database, revision)
        raw = await asyncpg.connect(empty_database)
        await old.rename_version_table(raw)
        await raw.close()
        before = await schema.check(conn)
        assert before == (Current(HEAD) if revision == HEAD else Outdated(revision, HEAD))

        await migration.upgrade(empty_database)

        assert await schema.check(conn) == Current(HEAD)
        assert list(await conn.scalars(NAMES)) == ["els_schema_version", "els_schema_version_pkc"]
        await migration.downgrade(empty_database, "base")


@pytest.mark.parametrize("revisions", [["0006"], ["0010"], ["4f2a"], ["0001", "0002"], []], ids=" ".join)
async def test_another_applications_revision_stays_and_is_not_taken_for_ours(
    conn: AsyncConnection, empty_database: str, revisions: list[str]
) -> None:
    await conn.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
    await conn.execute(text("CREATE TABLE dead_letters_of_others (id int)"))
    for revision in revisions:
        await conn.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})
    assert await schema.check(conn) == Outdated(None, HEAD)

    await migration.upgrade(empty_database)

    assert await schema.check(conn) == Current(HEAD)
    assert list(await conn.scalars(text("SELECT version_num FROM alembic_version ORDER BY 1"))) == revisions


async def test_another_applications_table_of_our_name_is_not_touched(
    conn: AsyncConnection, empty_database: str
) -> None:
    await conn.execute(text("CREATE TABLE event_outbox (theirs int)"))

    code, line = await line_of(empty_database, "migrate")

    assert code == 2
    assert line.endswith('can\'t be migrated: relation "event_outbox" already exists\n')
    assert list(await conn.scalars(text("SELECT count(*) FROM event_outbox"))) == [0]


async def test_a_role_without_create_is_refused_with_one_line(role_url: str) -> None:
    code, line = await line_of(role_url, "migrate")

    assert code == 2
    assert "permission denied for schema public" in line
    assert line.count("\n") == 1


async def test_a_search_path_without_a_schema_is_refused_with_one_line(conn: AsyncConnection, role_url: str) -> None:
    await conn.execute(text(f"ALTER ROLE {ROLE} SET search_path = nowhere"))

    code, line = await line_of(role_url, "migrate")

    assert code == 2
    assert "no schema has been selected to create in" in line


async def test_a_schema_of_its_own_in_the_search_path_works(
    conn: AsyncConnection, role_url: str, empty_database: str
) -> None:
    """Beside another application's tables in `public`, with revisions like ours."""
    await conn.execute(text("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)"))
    await conn.execute(text("INSERT INTO alembic_version VALUES ('0006')"))
    await conn.execute(text(f"CREATE SCHEMA school AUTHORIZATION {ROLE}"))
    await conn.execute(text(f"ALTER ROLE {ROLE} SET search_path = school, public"))

    assert await line_of(role_url, "migrate") == (0, "")
    assert await line_of(role_url, "verify") == (0, "")
    assert await line_of(role_url, "erase", "--student", "ada", "--dry-run") == (0, "")

    found = text("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('els_schema_version', 'event_outbox')")
    assert list(await conn.scalars(found)) == ["school"]
    assert (await line_of(empty_database, "status"))[0] == 2


def test_an_older_postgresql_is_refused() -> None:
    check_version(OLDEST_POSTGRESQL * 10_000)

    with pytest.raises(ConfigurationError, match="PostgreSQL 14, older than 15"):
        check_version(140_012)

"""A migration beside a long transaction names it, gives way to workers, and gets through or ends with one line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from els_stream.db import migration, migration_waits
from els_stream.errors import ServersUnavailable
from tests.support import database_of_0_1 as old
from tests.support.waiting import until


@pytest.fixture
async def reader(empty_database: str) -> AsyncIterator[asyncpg.Connection]:
    """A session in a transaction that has read a table which the next migrations change."""
    await old.fill_as_0_1(empty_database)
    reader = await asyncpg.connect(empty_database, server_settings={"application_name": "a long report"})
    await reader.execute("BEGIN")
    await reader.execute("SELECT count(*) FROM event_outbox")
    yield reader
    await reader.close()


async def test_a_migration_names_the_transaction_that_it_waits_for_and_gets_through(
    empty_database: str, reader: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_waits, "PAUSE_SECONDS", 0.1)
    monkeypatch.setattr(migration, "LOCK_TIMEOUT", "500")

    with capture_logs() as logs:
        upgrade = asyncio.create_task(migration.upgrade(empty_database))
        await until(lambda: any(line["event"] == "migration_waits" for line in logs))
        # A statement behind the migration passes once the migration gives way.
        bystander = await asyncpg.connect(empty_database)
        await bystander.execute("SELECT count(*) FROM event_outbox")
        await bystander.close()
        await reader.execute("COMMIT")
        await upgrade

    (blocked_by,) = {line["blocked_by"] for line in logs if line["event"] == "migration_waits"}
    assert blocked_by.startswith(f"process {reader.get_server_pid()} (a long report, role els) since 20")


async def test_a_migration_that_never_gets_its_lock_ends_with_one_line(
    empty_database: str, reader: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_waits, "MAX_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(migration, "LOCK_TIMEOUT", "600")

    with pytest.raises(ServersUnavailable) as caught:
        await migration.upgrade(empty_database)

    assert f"for a lock of process {reader.get_server_pid()} (a long report, role els) since" in str(caught.value)
    assert "\n" not in str(caught.value)
    await reader.execute("COMMIT")
    await migration.upgrade(empty_database)

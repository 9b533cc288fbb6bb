"""Every table may be published by logical replication."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db.errors import ClassifiedError, FailureClass, classify
from els_stream.queries.batch_counts import compact

# PostgreSQL documentation, ALTER TABLE … REPLICA IDENTITY: the default is the primary key, if there is one.
WITHOUT_IDENTITY = text("""
    SELECT relname FROM pg_class
    WHERE relkind IN ('r', 'p') AND relnamespace = CAST('public' AS regnamespace)
      AND (relreplident = 'n'
           OR (relreplident = 'd'
               AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = pg_class.oid AND indisprimary))
           OR (relreplident = 'i'
               AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = pg_class.oid AND indisreplident)))
""")
PUBLISH = text("CREATE PUBLICATION everything FOR ALL TABLES")
ADD_CHANGES = text("INSERT INTO batch_counts (class_type, completed) SELECT 'GUEST', 1 FROM generate_series(1, 150)")
ROWS = text("SELECT class_type, completed FROM batch_counts")


async def test_every_table_has_a_replica_identity(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        assert (await conn.scalars(WITHOUT_IDENTITY)).all() == []


async def test_counts_are_compacted_while_all_tables_are_published(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(PUBLISH)
        await conn.execute(ADD_CHANGES)

    async with engine.begin() as conn:
        await compact(conn)

    async with engine.connect() as conn:
        assert [tuple(row) for row in await conn.execute(ROWS)] == [("GUEST", 150)]


async def test_a_table_without_replica_identity_is_no_transient_failure(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(text("CREATE TABLE neighbour (id integer)"))
        await conn.execute(PUBLISH)

    with pytest.raises(DBAPIError) as caught:
        async with engine.begin() as conn:
            await conn.execute(text("DELETE FROM neighbour"))

    assert isinstance(caught.value.orig and caught.value.orig.__cause__, asyncpg.ObjectNotInPrerequisiteStateError)
    assert classify(caught.value) == ClassifiedError(FailureClass.FATAL, "55000")

"""Identity counters that went back, as after a restore of tables without their counters."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from els_stream.consumer.batch_order import BatchOrder
from els_stream.consumer.micro_batch import PartitionRecords
from els_stream.consumer.transaction import RolledBack
from els_stream.db import migration
from els_stream.db.errors import ClassifiedError, FailureClass
from els_stream.events.records import RawRecord
from els_stream.queries.identity_counters import read_counters
from els_stream.verify.invariants import check_invariants
from tests.support import factories
from tests.support.batch_harness import BatchHarness
from tests.support.micro_batches import MicroBatchRunner
from tests.support.waiting import until

IDENTITY_COLUMNS = text("""
    SELECT format('%s.%s', attrelid::regclass, attname) FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
    WHERE attidentity <> '' AND relnamespace = CAST('public' AS regnamespace)
""")
ADD_PURGES = "INSERT INTO purge_log (action, batches, removed) SELECT 'purge', 0, '{}' FROM generate_series(1, 5)"
ADD_PURGE_50 = text("""
    INSERT INTO purge_log (id, action, batches, removed) OVERRIDING SYSTEM VALUE VALUES (50, 'purge', 0, '{}')
""")
RESTART = "ALTER TABLE {} ALTER COLUMN {} RESTART"
MIGRATION_WAITS = text("""
    SELECT count(*) FROM pg_stat_activity WHERE application_name = 'els migrate' AND wait_event_type = 'Lock'
""")


async def behind(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as conn:
        return [f"{one.table}.{one.column}" for one in await read_counters(conn) if one.is_behind]


async def test_the_counters_are_those_of_all_identity_columns(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        counters = await read_counters(conn)
        columns = (await conn.scalars(IDENTITY_COLUMNS)).all()

    assert sorted(f"{one.table}.{one.column}" for one in counters) == sorted(columns)


async def test_a_migration_raises_the_counters_that_lie_behind_their_tables(
    harness: BatchHarness, database: str
) -> None:
    await harness.together(harness.content(0, "early"), harness.content(1, "early"))
    await harness.together(harness.registration(essays=1))
    await harness.execute(ADD_PURGES)
    for table, column in (("batch_pending_events", "arrival"), ("event_outbox", "position"), ("purge_log", "id")):
        await harness.execute(RESTART.format(table, column))
    before = await behind(harness.engine)

    with capture_logs() as logs:
        await migration.upgrade(database)

    assert await behind(harness.engine) == []
    logged = [line for line in logs if line["event"] == "identity counter was behind its table"]
    assert sorted(line["column"] for line in logged) == sorted(before)
    await harness.execute(ADD_PURGES)
    assert [row.id for row in await harness.rows("SELECT id FROM purge_log ORDER BY id")] == list(range(1, 11))


async def test_a_migration_lowers_no_counter(harness: BatchHarness, database: str) -> None:
    await harness.execute(ADD_PURGES)
    await harness.execute("ALTER TABLE purge_log ALTER COLUMN id RESTART WITH 100")

    await migration.upgrade(database)

    await harness.execute(ADD_PURGES)
    (row,) = await harness.rows("SELECT min(id) AS first FROM purge_log WHERE id > 5")
    assert row.first == 100


async def test_a_migration_waits_for_writers_before_it_raises_a_counter(harness: BatchHarness, database: str) -> None:
    """A value that an open transaction has drawn is not given a second time."""
    await harness.execute(ADD_PURGES)
    await harness.execute("ALTER TABLE purge_log ALTER COLUMN id RESTART WITH 2")
    async with harness.engine.begin() as conn:
        await conn.execute(ADD_PURGE_50)
        upgrade = asyncio.create_task(migration.upgrade(database))
        async with harness.engine.connect() as observer:

            async def waits() -> bool:
                await observer.rollback()
                return bool(await observer.scalar(MIGRATION_WAITS) == 1)

            await until(waits)

    await upgrade
    await harness.execute("INSERT INTO purge_log (action, batches, removed) VALUES ('purge', 0, '{}')")
    (row,) = await harness.rows("SELECT max(id) AS last FROM purge_log")
    assert row.last == 51


async def test_a_counter_of_the_outbox_that_went_back_is_not_the_fault_of_a_record(
    harness: BatchHarness, database: str
) -> None:
    await harness.together(harness.registration(essays=3))
    await harness.together(harness.content(0))
    await harness.execute(RESTART.format("outbox_segments", "position"))
    record = harness.content(1)

    assert await failure_of(harness, record) == ClassifiedError(FailureClass.FATAL, "23505 pk_outbox_segments")
    await migration.upgrade(database)
    assert await harness.together(record) == ["assigned"]


async def test_verify_names_events_that_were_written_while_a_counter_was_behind(engine: AsyncEngine) -> None:
    """The positions of a later event begin again below those that wait, so it would be published first."""
    harness = BatchHarness(engine=engine)
    await harness.execute(RESTART.format("outbox_segments", "position") + " WITH 100")
    await harness.together(harness.registration(essays=3))
    await harness.together(harness.content(0))
    await harness.execute(RESTART.format("outbox_segments", "position"))
    await harness.together(harness.content(1))

    async with engine.connect() as conn:
        findings = await check_invariants(conn, consumer_group="els", prefix="")

    found = {finding.invariant: list(finding.examples) for finding in findings if finding.violated}
    assert found.keys() == {"I8", "counters"}
    assert found["I8"][0] == f"outbox of {factories.BATCH}: sequence 1 comes after 2"


async def failure_of(harness: BatchHarness, record: RawRecord) -> ClassifiedError:
    """Return the failure of one attempt of the consumer to process the record."""
    runner = MicroBatchRunner(harness.engine, harness.handlers[record.topic])
    await runner.initialize()
    result = await runner.transactions.attempt((PartitionRecords(runner.state, 0, [record]),), order=BatchOrder())
    assert isinstance(result, RolledBack)
    return result.failure


async def test_a_counter_of_dead_letters_that_went_back_is_not_the_fault_of_a_record(
    harness: BatchHarness, database: str
) -> None:
    invalid = harness.record("huleedu.file.essay.content.provisioned.v1", b"Dear Sir or Madam,")
    await harness.together(invalid)
    await harness.execute(RESTART.format("dead_letters", "id"))
    another = replace(invalid, offset=invalid.offset + 1)

    assert await failure_of(harness, another) == ClassifiedError(FailureClass.FATAL, "23505 pk_dead_letters")
    await migration.upgrade(database)
    assert await harness.together(another) == ["dead_letter"]

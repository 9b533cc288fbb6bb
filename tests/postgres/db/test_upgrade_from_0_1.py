"""A database of 0.1.0 migrates without loss, and every part of the service goes on with its rows.

`tests/kafka/db/test_upgrade_from_0_1.py` publishes them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import count
from typing import Any, Final

import pytest
from sqlalchemy import func, literal_column, make_url, select, table, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.db import migration, schema
from els_stream.db.engine import Limits, create_engine
from els_stream.domain.purge_results import Purged, Removed
from els_stream.errors import SchemaOutdated
from els_stream.events import topics
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.kafka.offsets import Partition
from els_stream.maintenance.purge import PurgePlan, purge_guests
from els_stream.maintenance.replay import Accepted, FailedAgain, NotReplayable, Replayed, replay
from els_stream.queries import dead_letter_admin, outbox_exceptions
from els_stream.queries.outbox_backlog import read_backlog
from els_stream.queries.outbox_rows import SHARD_COUNT
from tables import metadata
from tests.support import database_of_0_1 as old
from tests.support.batch_harness import BatchHarness
from tests.support.catalogue import catalogue
from tests.support.clock_shift import ClockShift
from tests.support.invariants import broken_invariants
from tests.support.unsent_events import remove_events, unsent_events

CLASS: Final = "class-9b"
RENAMED: Final = {
    ("batch_essay_trackers", "parked_count"): "pending_count",
    ("batch_pending_events", "parked_at"): "pending_since",
    ("consumed_offsets", "caught_up_at"): "watermark_at",
    ("dead_letters", "settled_at"): "resolved_at",
    ("event_outbox", "share"): "shard",
    ("event_outbox", "held_until"): "next_attempt_at",
    ("event_outbox", "input_ms"): "input_timestamp_low31",
}
ADDED: Final = {
    "batch_essay_trackers": {"outbox_shard": None, "outbox_position": None},
    "consumed_offsets": {"topic_id": None, "read_until": None},
    "dead_letters": {"field": None},
}
ADDED_TABLES: Final = {"outbox_segments", "skipped_offsets"}
FILES: Final = text("""
    SELECT relfilenode FROM pg_class
    WHERE relnamespace = CAST('public' AS regnamespace) AND relkind = 'r'
      AND relname NOT IN ('alembic_version', 'els_schema_version', 'outbox_segments', 'skipped_offsets')
""")

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture
async def engine(empty_database: str) -> AsyncIterator[AsyncEngine]:
    """An engine of a database of 0.1.0 that is not migrated yet."""
    await old.fill_as_0_1(empty_database)
    url = make_url(empty_database).set(drivername="postgresql+asyncpg")
    engine = create_engine(url.render_as_string(hide_password=False), Limits(), name="els test")
    yield engine
    await engine.dispose()


@pytest.fixture
async def harness(empty_database: str, engine: AsyncEngine) -> AsyncIterator[BatchHarness]:
    """The migrated database, with records that Kafka got later; the invariants hold before and after the test."""
    await migration.upgrade(empty_database)
    async with engine.connect() as conn:
        assert await broken_invariants(conn) == []
    yield BatchHarness(offsets=count(1000), engine=engine)
    async with engine.connect() as conn:
        assert await broken_invariants(conn) == []


async def read_rows(conn: AsyncConnection) -> Rows:
    """Return every row of every table of 0.1.0, as PostgreSQL's JSON."""
    return {
        name: list(await conn.scalars(select(func.to_jsonb(literal_column(name))).select_from(table(name))))
        for name in metadata.tables.keys() - ADDED_TABLES
    }


def renamed(table_name: str, row: dict[str, Any]) -> dict[str, Any]:
    new = {RENAMED.get((table_name, column), column): value for column, value in row.items()}
    if table_name == "dead_letters" and row["state"] == "dropped":
        new["state"] = "discarded"
    return new | ADDED.get(table_name, {})


def sort_rows(rows: Rows) -> dict[str, list[str]]:
    return {name: sorted(str(sorted(row.items())) for row in of_table) for name, of_table in rows.items()}


async def publish(harness: BatchHarness, *keys: str) -> int:
    """Delete the rows of these keys, as a relay does after the ack; return how many."""
    async with harness.engine.begin() as conn:
        rows = await unsent_events(conn)
        of_keys = [row for row in rows if row.order_key in keys]
        await remove_events(conn, of_keys)
    return len(of_keys)


async def replay_each(harness: BatchHarness, dead_letter_ids: Sequence[int]) -> list[Replayed]:
    results = []
    for dead_letter_id in dead_letter_ids:
        async with harness.engine.begin() as conn:
            results.append(await replay(conn, harness.handlers, dead_letter_id))
    return results


async def test_every_row_keeps_its_values_and_no_table_is_rewritten(empty_database: str, engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        before = await read_rows(conn)
        files = sorted((await conn.scalars(FILES)).all())
    assert all(before.values()), "0.1.0 had rows in every table"

    await migration.upgrade(empty_database)

    async with engine.connect() as conn:
        after = await read_rows(conn)
        assert sorted((await conn.scalars(FILES)).all()) == files
    assert sort_rows(after) == sort_rows({name: [renamed(name, row) for row in rows] for name, rows in before.items()})
    states = sorted(row["state"] for row in after["dead_letters"])
    assert states == ["discarded", "open", "open", "open", "replayed"]


async def test_a_downgrade_restores_the_schema_and_the_rows(empty_database: str, engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        schema_before, rows_before = await catalogue(conn), sort_rows(await read_rows(conn))
    await migration.upgrade(empty_database)

    await migration.downgrade(empty_database, old.REVISION)

    async with engine.connect() as conn:
        assert await catalogue(conn) == schema_before
        assert sort_rows(await read_rows(conn)) == rows_before


async def test_the_service_requires_the_migration(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        with pytest.raises(SchemaOutdated, match="is at revision 0006, this code needs 0014: run `els migrate`"):
            await schema.require(conn)


async def test_pending_events_are_applied_by_their_registration(harness: BatchHarness) -> None:
    assert await harness.counts(old.UNREGISTERED) == ("unregistered", 0, 0, 0, 3)

    labels = await harness.together(harness.registration(old.UNREGISTERED, essays=2, class_id=CLASS))

    assert labels == ["registered"]
    assert await harness.counts(old.UNREGISTERED) == ("completed", 0, 1, 1, 0)
    assert await harness.kinds(old.UNREGISTERED) == ["assigned", "errors", "completed", "ready"]


async def test_open_batches_take_contents_and_recognize_repeats(harness: BatchHarness) -> None:
    repeats = [harness.content(0, batch) for batch in (old.WITH_DEFERRED_ROW, old.IN_SLOT_ASSIGNMENTS)]
    contents = [harness.content(2, batch) for batch in (old.WITH_DEFERRED_ROW, old.IN_SLOT_ASSIGNMENTS)]
    late = [harness.content(3, batch) for batch in (old.WITH_DEFERRED_ROW, old.OLD_GUESTS)]

    assert await harness.one_by_one(*repeats) == ["already_assigned", "already_assigned"]
    assert await harness.one_by_one(*contents) == ["assigned", "assigned"]
    assert await harness.one_by_one(*late) == ["excess", "excess"]
    assert await harness.counts(old.WITH_DEFERRED_ROW) == ("content_complete", 0, 2, 1, 0)
    assert await harness.counts(old.IN_SLOT_ASSIGNMENTS) == ("completed", 0, 2, 1, 0)


async def test_associations_complete_a_regular_batch(harness: BatchHarness) -> None:
    associations = harness.associations(1, old.WITHOUT_ASSOCIATIONS, class_id=CLASS)

    assert await harness.together(associations) == ["associations_confirmed"]
    assert await harness.counts(old.WITHOUT_ASSOCIATIONS) == ("completed", 0, 1, 0, 0)
    assert await harness.kinds(old.WITHOUT_ASSOCIATIONS) == ["assigned", "completed", "ready"]


async def test_later_rows_follow_the_waiting_rows_of_their_key(harness: BatchHarness) -> None:
    """The waiting rows may be in a direct shard, or deferred."""
    await harness.together(harness.content(2, old.IN_DIRECT_SHARD))
    await harness.together(harness.content(2, old.WITH_DEFERRED_ROW))

    async with harness.engine.connect() as conn:
        fetched = await outbox_exceptions.fetch(conn, range(SHARD_COUNT), rows=1000, size=2**24, max_delay=1e11)
        backlog = await read_backlog(conn)

    assert [row.shard for row in fetched if row.order_key == old.IN_DIRECT_SHARD] == [70, 70, 70, 70]
    assert [row for row in fetched if row.order_key == old.WITH_DEFERRED_ROW] == []
    assert (backlog.rows, backlog.deferred) == (23, 1)


async def test_dead_letters_are_replayed_according_to_their_state(harness: BatchHarness) -> None:
    """In 0.1.0: a conflicting registration, a replayed one and its follower, a dropped one, a valid content."""
    rows = await harness.rows("SELECT id, state FROM dead_letters ORDER BY id")
    assert [row.state for row in rows] == ["open", "replayed", "open", "discarded", "open"]

    results = await replay_each(harness, [row.id for row in rows])

    conflict, replayed, follower, discarded, content = results
    assert isinstance(conflict, FailedAgain)
    assert conflict.reason is DeadLetterReason.CONFLICTING_REGISTRATION
    assert isinstance(follower, FailedAgain)
    assert follower.reason is DeadLetterReason.NOT_JSON
    assert (replayed, discarded) == (NotReplayable("it is replayed"), NotReplayable("it is discarded"))
    assert content == Accepted("assigned")
    assert await harness.counts(old.IN_DIRECT_SHARD) == ("completed", 0, 3, 0, 0)


async def test_an_open_dead_letter_is_discarded_like_a_dropped_one(harness: BatchHarness) -> None:
    (dropped,) = await harness.rows("SELECT id FROM dead_letters WHERE state = 'discarded'")
    (open_one,) = await harness.rows("SELECT id FROM dead_letters WHERE state = 'open' AND reason = 'not_json'")

    async with harness.engine.begin() as conn:
        assert await dead_letter_admin.discard(conn, [dropped.id, open_one.id], "spam") == [open_one.id]

    async with harness.engine.connect() as conn:
        records = [await dead_letter_admin.read(conn, row.id) for row in (dropped, open_one)]
    assert [(one.summary.state, one.value_is_gone, one.record.value) for one in records if one is not None] == [
        ("discarded", True, None),
        ("discarded", True, None),
    ]


async def test_the_purge_removes_the_old_guest_batch_once_it_is_published(harness: BatchHarness) -> None:
    nothing = await purge_guests(harness.engine, PurgePlan(14), stop=asyncio.Event(), progress=lambda _: None)
    assert await publish(harness, old.OLD_GUESTS) == 4

    result = await purge_guests(harness.engine, PurgePlan(14), stop=asyncio.Event(), progress=lambda _: None)

    assert nothing == Purged(Removed())
    assert result == Purged(Removed(batches=1, essay_states=2, validation_failures=1, excess_content=1))
    log = await harness.rows("SELECT action, batches FROM purge_log ORDER BY id")
    assert [tuple(row) for row in log] == [("purge", 1), ("purge", 0), ("purge", 1)]
    tombstones = await harness.rows("SELECT batch_id FROM batch_essay_trackers WHERE state = 'purged' ORDER BY 1")
    assert [row.batch_id for row in tombstones] == [old.OLD_GUESTS, old.PURGED]


async def test_the_stored_watermarks_time_out_the_overdue_batch(harness: BatchHarness) -> None:
    partitions = [Partition(topic, number) for topic in topics.INPUT_TOPICS for number in range(2)]
    clock = ClockShift(harness, broker=partitions, prefix="")

    assert [await clock.time_out(), await clock.time_out()] == [1, 0]

    assert await harness.kinds(old.OVERDUE) == ["assigned", "timeout"]
    (_, timeout) = await harness.outbox_events(old.OVERDUE)
    assert (timeout.data["expected_count"], timeout.data["actual_count"]) == (2, 1)
    async with harness.engine.connect() as conn:
        assert await clock.timed_out(conn) == [old.OVERDUE]

"""The outbox of a migrated database of 0.1.0 is published: rows that wait, that are deferred, and in a direct shard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db import migration
from els_stream.db.engine import Limits, create_engine
from els_stream.embedded.servers import Addresses
from els_stream.verify.comparison import compare
from els_stream.verify.expected_events import read_expected_events
from els_stream.verify.kafka_events import read_published_events
from tests.support import database_of_0_1 as old
from tests.support.outbox_rows import rows_left, wait_until_empty
from tests.support.relays import QUICK, PublishedRecord, read_records, running_relay, timestamped_topics
from tests.support.waiting import until

# The deferred row of the old database is due in a hundred years; the default takes such a row for due.
PATIENT = replace(QUICK, deferral_max_seconds=1e11)
WAITING = text("SELECT order_key, key, topic, value FROM event_outbox ORDER BY order_key, sequence")


@pytest.fixture
async def migrated(empty_database: str) -> AsyncIterator[AsyncEngine]:
    await old.fill_as_0_1(empty_database)
    await migration.upgrade(empty_database)
    url = make_url(empty_database).set(drivername="postgresql+asyncpg")
    engine = create_engine(url.render_as_string(hide_password=False), Limits(), pool_size=8, name="els test")
    yield engine
    await engine.dispose()


async def test_every_row_is_published_once_and_in_order_the_deferred_one_when_due(
    migrated: AsyncEngine, addresses: Addresses, topic_prefix: str
) -> None:
    async with migrated.connect() as conn:
        rows = (await conn.execute(WAITING)).all()
        expected = await read_expected_events(conn)

    deferred = [row for row in rows if row.order_key == old.WITH_DEFERRED_ROW]

    async def only_the_deferred_key_is_left() -> bool:
        return await rows_left(migrated) == len(deferred)

    async with timestamped_topics(addresses.broker, topic_prefix) as names:
        async with running_relay(migrated, addresses.broker, topic_prefix, PATIENT) as relay:
            await until(only_the_deferred_key_is_left, seconds=20)
            async with migrated.begin() as conn:
                await conn.execute(text("UPDATE event_outbox SET next_attempt_at = now() WHERE attempts > 0"))
            relay.wake()
            await wait_until_empty(migrated)
        records = await read_records(addresses.broker, names.values())
        published = await read_published_events(addresses.broker, topic_prefix)

    assert sorted((one.topic, one.value or b"") for one in records) == sorted(
        (topic_prefix + row.topic, row.value or b"") for row in rows
    )
    for key in {row.order_key for row in rows}:
        assert_in_order([row.value for row in rows if row.order_key == key], records)
    findings = compare(expected, published, expected)
    assert [finding.violated for finding in findings] == [0, 0, 0]
    assert len(published.events) == len(rows) == 18


def assert_in_order(values: Sequence[bytes | None], records: Sequence[PublishedRecord]) -> None:
    """The broker has set the timestamps, so they show the order over topics."""
    by_value = {one.value: one for one in records}
    for earlier, later in pairwise([by_value[value] for value in values]):
        assert earlier.timestamp <= later.timestamp
        assert earlier.topic != later.topic or earlier.offset < later.offset

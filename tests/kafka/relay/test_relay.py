"""The relay without failures: every row is published once and in order."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from els_stream.events.outbound_event import OutboundEvent
from els_stream.queries.outbox_rows import SHARD_COUNT, OutboxRow
from tests.support.outbox_rows import batch_rows, commit, commit_one_by_one, row, wait_until_empty
from tests.support.relays import (
    QUICK,
    assert_published_in_order,
    read_records,
    relay_process,
    running_relay,
    timestamped_topics,
)
from tests.support.waiting import until

Topics = dict[str, str]

# On a busy machine the short leases of QUICK may run out, and then a row may be published twice.
LONG_TIMES = replace(QUICK, lease_seconds=10, session_idle_timeout_seconds=15)


@pytest.fixture
async def topic_names(addresses: Addresses, topic_prefix: str) -> AsyncIterator[Topics]:
    async with timestamped_topics(addresses.broker, topic_prefix) as names:
        yield names


async def test_all_rows_arrive_in_order_and_once(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, topic_names: Topics
) -> None:
    rows_by_batch = {f"batch {number}": batch_rows(f"batch {number}") for number in range(300)}
    await commit(engine, [one for rows in rows_by_batch.values() for one in rows])

    async with running_relay(engine, addresses.broker, topic_prefix) as relay:
        await wait_until_empty(engine)
        status = relay.status()

    seen = await read_records(addresses.broker, topic_names.values())
    assert len(seen) == 300 * 7
    assert_published_in_order(seen, rows_by_batch, topic_prefix)
    assert (status.shards, status.members, status.acked, status.rejected, status.errors) == (
        SHARD_COUNT,
        1,
        2100,
        0,
        {},
    )


async def test_relays_that_start_and_stop_cleanly_publish_nothing_twice(
    engine: AsyncEngine, database: str, addresses: Addresses, topic_prefix: str, topic_names: Topics
) -> None:
    groups = [[f"group {group} batch {number}" for number in range(40)] for group in range(6)]
    broker = addresses.broker

    async with running_relay(engine, broker, topic_prefix, LONG_TIMES):
        await commit_one_by_one(engine, groups[0])
        async with relay_process(database, broker, topic_prefix, options=LONG_TIMES) as other:
            await commit_one_by_one(engine, groups[1])
            async with running_relay(engine, broker, topic_prefix, LONG_TIMES):
                await commit_one_by_one(engine, groups[2])
            await commit_one_by_one(engine, groups[3])
            other.terminate()
            await commit_one_by_one(engine, groups[4])
            await other.wait()
        await commit_one_by_one(engine, groups[5])
        await wait_until_empty(engine)

    seen = await read_records(broker, topic_names.values())
    assert len(seen) == 6 * 40 * 7
    assert_published_in_order(seen, {batch: batch_rows(batch) for group in groups for batch in group}, topic_prefix)


async def test_three_relays_divide_the_shards(engine: AsyncEngine, addresses: Addresses, topic_prefix: str) -> None:
    async with (
        running_relay(engine, addresses.broker, topic_prefix) as one,
        running_relay(engine, addresses.broker, topic_prefix) as two,
        running_relay(engine, addresses.broker, topic_prefix) as three,
    ):

        def divided() -> bool:
            counts = sorted(relay.status().shards for relay in (one, two, three))
            return sum(counts) == SHARD_COUNT and counts[0] >= 20 + 10 and counts[-1] <= 22 + 11

        await until(divided, seconds=10)


async def test_a_commit_of_another_process_wakes_the_relay_before_its_poll(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics
) -> None:
    async with running_relay(engine, addresses.broker, topic_prefix, replace(QUICK, poll_interval_seconds=3600)):
        await commit(engine, [row("warm-up", 1)])
        await wait_until_empty(engine)
        await commit(engine, [row("batch-of-9b", 1)])
        await wait_until_empty(engine)

    assert len(await read_records(addresses.broker, kafka_topics.values())) == 2


async def test_a_dead_letter_without_key_and_value_arrives_unchanged(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics
) -> None:
    original = row("batch-of-9b", 1).event
    headers = (("dlq_reason", b"value_missing"), ("same", b"1"), ("same", b"2"), ("nul", b"\x00"))
    dead_letter = OutboundEvent.with_headers(original.event_id, topics.DEAD_LETTER, None, None, headers)
    await commit(engine, [OutboxRow("topic/0/17/1769860800000", 1, dead_letter)])

    async with running_relay(engine, addresses.broker, topic_prefix):
        await wait_until_empty(engine)

    [seen] = await read_records(addresses.broker, kafka_topics.values())
    assert (seen.topic, seen.key, seen.value) == (kafka_topics[topics.DEAD_LETTER], None, None)
    assert seen.headers == headers


async def test_a_row_of_16_mib_is_published(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics
) -> None:
    largest = row("batch-of-9b", 2, topics.PROVISIONING_COMPLETED, padding=16 * 2**20 - 64 * 1024)
    await commit(engine, [row("batch-of-9b", 1), largest, row("batch-of-9b", 3)])

    async with running_relay(engine, addresses.broker, topic_prefix) as relay:
        await wait_until_empty(engine)
        rejected = relay.status().rejected

    seen = await read_records(addresses.broker, [kafka_topics[topics.PROVISIONING_COMPLETED]])
    assert ([one.value for one in seen], rejected) == ([largest.event.value], 0)


async def test_stopping_leaves_no_task_behind(engine: AsyncEngine, addresses: Addresses, topic_prefix: str) -> None:
    before = asyncio.all_tasks()

    async with running_relay(engine, addresses.broker, topic_prefix) as relay:
        await until(lambda: relay.status().shards == SHARD_COUNT)

    assert asyncio.all_tasks() - before == set()

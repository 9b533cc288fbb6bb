"""The relay on a good day: everything leaves, once, in order."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from els_stream.events.outbound_event import OutboundEvent
from els_stream.queries.outbox_rows import SHARD_COUNT, OutboxRow
from tests.support.outbox_rows import commit, commit_bit_by_bit, emptied, row, story
from tests.support.relays import QUICK, assert_all_arrived_in_order, read_all, relay_process, relaying, stamped_topics
from tests.support.waiting import until

Topics = dict[str, str]

# On a busy machine the short lease of the others may run out, and then a row may come twice.
UNHURRIED = replace(QUICK, lease_seconds=10, session_idle_timeout_seconds=15)


@pytest.fixture
async def stamped(addresses: Addresses, topic_prefix: str) -> AsyncIterator[Topics]:
    async with stamped_topics(addresses.broker, topic_prefix) as names:
        yield names


async def test_stories_arrive_whole_in_order_and_once(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, stamped: Topics
) -> None:
    stories = {f"batch {number}": story(f"batch {number}") for number in range(300)}
    await commit(engine, [one for rows in stories.values() for one in rows])

    async with relaying(engine, addresses.broker, topic_prefix) as relay:
        await emptied(engine)
        status = relay.status()

    seen = await read_all(addresses.broker, stamped.values())
    assert len(seen) == 300 * 7
    assert_all_arrived_in_order(seen, stories, topic_prefix)
    assert (status.shards, status.members, status.acked, status.rejected, status.errors) == (
        SHARD_COUNT,
        1,
        2100,
        0,
        {},
    )


async def test_relays_that_come_and_go_in_order_send_nothing_twice(
    engine: AsyncEngine, database: str, addresses: Addresses, topic_prefix: str, stamped: Topics
) -> None:
    waves = [[f"wave {wave} batch {number}" for number in range(40)] for wave in range(6)]
    broker = addresses.broker

    async with relaying(engine, broker, topic_prefix, UNHURRIED):
        await commit_bit_by_bit(engine, waves[0])
        async with relay_process(database, broker, topic_prefix, options=UNHURRIED) as other:
            await commit_bit_by_bit(engine, waves[1])
            async with relaying(engine, broker, topic_prefix, UNHURRIED):
                await commit_bit_by_bit(engine, waves[2])
            await commit_bit_by_bit(engine, waves[3])
            other.terminate()
            await commit_bit_by_bit(engine, waves[4])
            await other.wait()
        await commit_bit_by_bit(engine, waves[5])
        await emptied(engine)

    seen = await read_all(broker, stamped.values())
    assert len(seen) == 6 * 40 * 7
    assert_all_arrived_in_order(seen, {batch: story(batch) for wave in waves for batch in wave}, topic_prefix)


async def test_three_relays_divide_the_shares(engine: AsyncEngine, addresses: Addresses, topic_prefix: str) -> None:
    async with (
        relaying(engine, addresses.broker, topic_prefix) as one,
        relaying(engine, addresses.broker, topic_prefix) as two,
        relaying(engine, addresses.broker, topic_prefix) as three,
    ):

        def divided() -> bool:
            parts = sorted(relay.status().shards for relay in (one, two, three))
            return sum(parts) == SHARD_COUNT and parts[0] >= 20 + 10 and parts[-1] <= 22 + 11

        await until(divided, seconds=10)


async def test_a_commit_anywhere_wakes_the_relay_long_before_it_polls(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics
) -> None:
    async with relaying(engine, addresses.broker, topic_prefix, replace(QUICK, poll_interval_seconds=3600)):
        await commit(engine, [row("warms up", 1)])
        await emptied(engine)
        began = time.monotonic()
        await commit(engine, [row("batch-of-9b", 1)])
        await emptied(engine)
        took = time.monotonic() - began

    assert took < 2
    assert len(await read_all(addresses.broker, kafka_topics.values())) == 2


async def test_dead_letters_without_key_and_value_arrive_as_they_are(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics
) -> None:
    original = row("batch-of-9b", 1).event
    headers = (("dlq_reason", b"value_missing"), ("same", b"1"), ("same", b"2"), ("nul", b"\x00"))
    letter = OutboundEvent.with_headers(original.event_id, topics.DEAD_LETTER, None, None, headers)
    await commit(engine, [OutboxRow("topic/0/17/1769860800000", 1, letter)])

    async with relaying(engine, addresses.broker, topic_prefix):
        await emptied(engine)

    [seen] = await read_all(addresses.broker, kafka_topics.values())
    assert (seen.topic, seen.key, seen.value) == (kafka_topics[topics.DEAD_LETTER], None, None)
    assert seen.headers == headers


async def test_a_row_of_16_mib_goes_through(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics
) -> None:
    largest = row("batch-of-9b", 2, topics.PROVISIONING_COMPLETED, padding=16 * 2**20 - 64 * 1024)
    await commit(engine, [row("batch-of-9b", 1), largest, row("batch-of-9b", 3)])

    async with relaying(engine, addresses.broker, topic_prefix) as relay:
        await emptied(engine)
        refused = relay.status().rejected

    seen = await read_all(addresses.broker, [kafka_topics[topics.PROVISIONING_COMPLETED]])
    assert ([one.value for one in seen], refused) == ([largest.event.value], 0)


async def test_stopping_leaves_no_task_behind(engine: AsyncEngine, addresses: Addresses, topic_prefix: str) -> None:
    before = asyncio.all_tasks()

    async with relaying(engine, addresses.broker, topic_prefix) as relay:
        await until(lambda: relay.status().shards == SHARD_COUNT)

    assert asyncio.all_tasks() - before == set()

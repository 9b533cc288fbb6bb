"""Rows that can't be sent, topics that are not there, servers that go away and come back."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from els_stream.embedded.servers import Addresses, EmbeddedServers
from els_stream.events import topics
from els_stream.events.outbound_event import OutboundEvent
from els_stream.kafka.topics import TOPICS, delete_topics, ensure_topics
from els_stream.queries.outbox_backlog import OutboxBacklog, read_backlog
from els_stream.queries.outbox_rows import SHARD_COUNT, OutboxRow
from els_stream.relay import Relay
from tests.support import waiting as wait
from tests.support.outbox_rows import commit, emptied, left, row, story
from tests.support.relays import QUICK, configure, read_all, relaying, stamped_topics

Topics = dict[str, str]

until = partial(wait.until, seconds=20)


@pytest.fixture
async def small_topics(addresses: Addresses, topic_prefix: str) -> AsyncIterator[Topics]:
    """Assignments may have 20 000 bytes, a batch of them together."""
    async with stamped_topics(addresses.broker, topic_prefix, **{topics.SLOT_ASSIGNED: 20_000}) as names:
        yield names


async def until_left(engine: AsyncEngine, rows: int, seconds: float = 20) -> None:
    async def holds() -> bool:
        return await left(engine) == rows

    await until(holds, seconds=seconds)


async def counted(engine: AsyncEngine) -> OutboxBacklog:
    async with engine.connect() as conn:
        return await read_backlog(conn)


async def until_held(engine: AsyncEngine, rows: int) -> None:
    async def holds() -> bool:
        return (await counted(engine)).deferred == rows

    await until(holds)


async def errors(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as conn:
        found = await conn.scalars(text("SELECT last_error FROM event_outbox WHERE last_error IS NOT NULL"))
        return [str(error) for error in found]


def crowd(number: int) -> list[OutboxRow]:
    return [one for batch in range(number) for one in story(f"crowd {batch}")]


async def test_a_row_too_large_for_its_topic_holds_back_its_batch_only_and_leaves_when_it_may(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, small_topics: Topics
) -> None:
    assigned = small_topics[topics.SLOT_ASSIGNED]
    large = [row("large", 1), row("large", 2, padding=30_000), row("large", 3)]
    # In one transaction, so that the large row travels in the middle of a batch of others.
    await commit(engine, crowd(50) + large + [row(f"more {number}", 1) for number in range(50)])

    with capture_logs() as logged:
        async with relaying(engine, addresses.broker, topic_prefix) as relay:
            await until_left(engine, 2)
            await commit(engine, [row("newcomer", 1), row("large", 4)])
            await until_left(engine, 3)
            backlog = await counted(engine)
            told = await errors(engine)
            before = await read_all(addresses.broker, [assigned])
            await configure(addresses.broker, assigned, max_message_bytes="50000")
            await emptied(engine)
            status = relay.status()

    after = await read_all(addresses.broker, [assigned])
    assert logged == []
    assert backlog.deferred == 1
    assert status.rejected >= 1
    assert status.errors == {}
    assert "MessageSizeTooLargeError" in told[0]
    assert [one.value for one in before if one.key == b"large"] == [large[0].event.value]
    assert [one.value for one in after if one.key == b"large"] == [one.event.value for one in (*large, row("large", 4))]
    assert len(after) == 50 * 3 + 50 + 1 + 4


async def test_a_row_larger_than_a_request_may_be_is_held_without_asking_the_broker(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics
) -> None:
    await commit(engine, [row("large", 1, padding=200_000), row("other", 1)])

    async with relaying(engine, addresses.broker, topic_prefix, replace(QUICK, request_bytes=100_000)):
        await until_left(engine, 1)
        [told] = await errors(engine)

    assert "more than a request may contain" in told
    assert len(await read_all(addresses.broker, kafka_topics.values())) == 1


async def test_a_header_that_no_client_can_write_holds_back_its_batch_only(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics
) -> None:
    good = row("broken", 1).event
    broken_invariants = OutboundEvent.with_headers(good.event_id, good.topic, good.key, good.value, (("\ud800", b""),))
    await commit(engine, [*crowd(5), OutboxRow("broken", 1, broken_invariants), row("broken", 2), *story("after")])

    async with relaying(engine, addresses.broker, topic_prefix):
        await until_left(engine, 2)
        await until_held(engine, 1)
        [told] = await errors(engine)

    assert "cannot be encoded" in told
    assert len(await read_all(addresses.broker, kafka_topics.values())) == 6 * 7


async def test_a_topic_that_is_missing_stops_nothing_else_and_is_used_once_it_is_there(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str
) -> None:
    plans = [plan for plan in TOPICS if plan.topic in topics.OUTPUT_TOPICS]
    others = [plan for plan in plans if plan.topic != topics.VALIDATION_ERRORS]
    names = [topic_prefix + plan.topic for plan in plans]
    await ensure_topics(addresses.broker, topic_prefix, topics=others)
    plain = [row(f"plain {number}", 1) for number in range(50)]
    await commit(engine, crowd(20) + plain)

    async with relaying(engine, addresses.broker, topic_prefix):
        # Of each story of seven, what comes before the missing topic leaves.
        await until_left(engine, 20 * 3)
        await until_held(engine, 20)
        told = await errors(engine)
        await ensure_topics(addresses.broker, topic_prefix, topics=plans)
        await emptied(engine)

    seen = await read_all(addresses.broker, names)
    await delete_topics(addresses.broker, names)
    assert len(seen) == 20 * 7 + 50
    assert topics.VALIDATION_ERRORS in told[0]


async def test_the_broker_goes_and_comes_back(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics, servers: EmbeddedServers
) -> None:
    async with relaying(engine, addresses.broker, topic_prefix) as relay:
        await commit(engine, story("before"))
        await emptied(engine)
        await servers.kafka.kill()
        await commit(engine, crowd(20))
        await until(lambda: "publisher" in relay.status().errors)
        await servers.kafka.start()
        await emptied(engine, 60)
        await until(lambda: not relay.status().errors)

    seen = await read_all(addresses.broker, kafka_topics.values())
    assert len({(one.topic, one.value) for one in seen}) == 21 * 7
    assert (await counted(engine)).deferred == 0


async def test_a_relay_that_starts_before_its_servers_waits_for_them(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics, servers: EmbeddedServers
) -> None:
    await commit(engine, crowd(5))
    await servers.stop()

    async with relaying(engine, addresses.broker, topic_prefix) as relay:
        await until(lambda: relay.status().errors.keys() >= {"publisher", "shards", "listener"})
        await servers.start()
        await emptied(engine, 60)
        await until(lambda: not relay.status().errors)

    assert len(await read_all(addresses.broker, kafka_topics.values())) == 5 * 7


async def test_the_database_goes_and_comes_back(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics, servers: EmbeddedServers
) -> None:
    async with relaying(engine, addresses.broker, topic_prefix) as relay:
        await commit(engine, story("before"))
        await emptied(engine)
        await servers.postgres.kill()
        await until(lambda: relay.status().shards == 0)
        await servers.postgres.start()
        await until(lambda: relay.status().shards == SHARD_COUNT)
        await engine.dispose()
        await commit(engine, crowd(20))
        await emptied(engine)
        await until(lambda: not relay.status().errors)

    assert len(await read_all(addresses.broker, kafka_topics.values())) == 21 * 7


async def stopping_takes(relay: Relay) -> float:
    began = time.monotonic()
    await relay.stop()
    return time.monotonic() - began


async def test_it_stops_in_time_with_the_broker_frozen(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics, servers: EmbeddedServers
) -> None:
    relay = Relay(engine, broker=addresses.broker, topic_prefix=topic_prefix, options=QUICK)
    await relay.start()
    await commit(engine, story("before"))
    await emptied(engine)
    servers.kafka.pause()
    await commit(engine, crowd(20))
    await until(lambda: relay.status().in_flight > 0)

    assert await stopping_takes(relay) < 2
    assert kafka_topics


async def test_it_stops_in_time_with_the_database_frozen(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics, servers: EmbeddedServers
) -> None:
    relay = Relay(engine, broker=addresses.broker, topic_prefix=topic_prefix, options=QUICK)
    await relay.start()
    await commit(engine, story("before"))
    await emptied(engine)
    servers.postgres.pause()
    relay.wake()
    await until(lambda: relay.status().shards == 0)

    assert await stopping_takes(relay) < 2
    assert kafka_topics

"""Rows that cannot be published, missing topics, and servers that stop and start again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Literal

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
from tests.support.outbox_rows import batch_rows, commit, row, rows_left, wait_until_empty
from tests.support.relays import PARTITIONS, QUICK, read_records, running_relay, set_topic_config, timestamped_topics

Topics = dict[str, str]

until = partial(wait.until, seconds=20)

# Enough keys to have some in every partition.
WARM_UP = [f"warm-up {number}".encode() for number in range(4 * PARTITIONS)]
# A rejected row is not tried again within the test.
ONE_ATTEMPT = replace(QUICK, deferral_initial_seconds=3600, deferral_max_seconds=3600)


@pytest.fixture
async def small_topics(addresses: Addresses, topic_prefix: str) -> AsyncIterator[Topics]:
    """The output topics; the one for assigned slots accepts record batches up to 20 000 bytes."""
    async with timestamped_topics(addresses.broker, topic_prefix, **{topics.SLOT_ASSIGNED: 20_000}) as names:
        yield names


async def until_left(engine: AsyncEngine, rows: int) -> None:
    async def are_left() -> bool:
        return await rows_left(engine) == rows

    await until(are_left)


async def backlog_of(engine: AsyncEngine) -> OutboxBacklog:
    async with engine.connect() as conn:
        return await read_backlog(conn)


async def until_deferred(engine: AsyncEngine, rows: int) -> None:
    async def are_deferred() -> bool:
        return (await backlog_of(engine)).deferred == rows

    await until(are_deferred)


async def warm_up(engine: AsyncEngine, broker: str, prefix: str) -> None:
    """Publish until all partitions of the new topics have a leader; before that, any row may be rejected."""
    await commit(engine, [one for key in WARM_UP for one in batch_rows(key.decode())])
    async with running_relay(engine, broker, prefix):
        await wait_until_empty(engine)


async def is_empty_after_another_attempt(engine: AsyncEngine, relay: Relay) -> bool:
    """Make deferred rows due; return whether the outbox is empty."""
    async with engine.begin() as conn:
        await conn.execute(text("UPDATE event_outbox SET next_attempt_at = now() WHERE next_attempt_at > now()"))
    relay.wake()
    return not await rows_left(engine)


async def errors(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as conn:
        found = await conn.scalars(text("SELECT last_error FROM event_outbox WHERE last_error IS NOT NULL"))
        return [str(error) for error in found]


def rows_of_batches(count: int) -> list[OutboxRow]:
    return [one for number in range(count) for one in batch_rows(f"batch {number}")]


async def test_a_row_too_large_for_its_topic_blocks_only_its_batch_until_it_fits(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, small_topics: Topics
) -> None:
    assigned = small_topics[topics.SLOT_ASSIGNED]
    large = [row("large", 1), row("large", 2, padding=30_000), row("large", 3)]
    await warm_up(engine, addresses.broker, topic_prefix)
    # In one transaction, so that the large row is in the middle of a record batch.
    await commit(engine, rows_of_batches(50) + large + [row(f"more {number}", 1) for number in range(50)])

    with capture_logs() as logged:
        async with running_relay(engine, addresses.broker, topic_prefix, ONE_ATTEMPT) as relay:
            await until_left(engine, 2)
            await until_deferred(engine, 1)
            await until(lambda: relay.status().rejected > 0)
            await commit(engine, [row("newcomer", 1), row("large", 4)])
            await until_left(engine, 3)
            backlog = await backlog_of(engine)
            [error] = await errors(engine)
            status = relay.status()
            before = await read_records(addresses.broker, [assigned])
            await set_topic_config(addresses.broker, assigned, max_message_bytes="50000")
            await until(partial(is_empty_after_another_attempt, engine, relay))

    after = [one for one in await read_records(addresses.broker, [assigned]) if one.key not in WARM_UP]
    assert logged == []
    assert backlog.deferred == 1
    assert (status.rejected, status.errors) == (1, {})
    assert "MessageSizeTooLargeError" in error
    assert [one.value for one in before if one.key == b"large"] == [large[0].event.value]
    assert [one.value for one in after if one.key == b"large"] == [one.event.value for one in (*large, row("large", 4))]
    assert len(after) == 50 * 3 + 50 + 1 + 4


async def test_a_row_larger_than_a_request_is_deferred_without_a_request(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics
) -> None:
    await commit(engine, [row("large", 1, padding=200_000), row("other", 1)])

    async with running_relay(engine, addresses.broker, topic_prefix, replace(QUICK, request_bytes=100_000)):
        await until_left(engine, 1)
        [error] = await errors(engine)

    assert "more than a request may contain" in error
    assert len(await read_records(addresses.broker, kafka_topics.values())) == 1


async def test_a_header_that_cannot_be_encoded_blocks_only_its_batch(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics
) -> None:
    good = row("broken", 1).event
    broken = OutboundEvent.with_headers(good.event_id, good.topic, good.key, good.value, (("\ud800", b""),))
    await commit(engine, [*rows_of_batches(5), OutboxRow("broken", 1, broken), row("broken", 2), *batch_rows("after")])

    async with running_relay(engine, addresses.broker, topic_prefix):
        await until_left(engine, 2)
        await until_deferred(engine, 1)
        [error] = await errors(engine)

    assert "cannot be encoded" in error
    assert len(await read_records(addresses.broker, kafka_topics.values())) == 6 * 7


async def test_a_missing_topic_blocks_nothing_else_and_is_used_once_it_exists(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str
) -> None:
    plans = [plan for plan in TOPICS if plan.topic in topics.OUTPUT_TOPICS]
    others = [plan for plan in plans if plan.topic != topics.VALIDATION_ERRORS]
    names = [topic_prefix + plan.topic for plan in plans]
    await ensure_topics(addresses.broker, topic_prefix, topics=others)
    plain = [row(f"plain {number}", 1) for number in range(50)]
    await commit(engine, rows_of_batches(20) + plain)

    async with running_relay(engine, addresses.broker, topic_prefix):
        # Of the seven rows of each batch, the four before the missing topic are published.
        await until_left(engine, 20 * 3)
        await until_deferred(engine, 20)
        missing = await errors(engine)
        await ensure_topics(addresses.broker, topic_prefix, topics=plans)
        await wait_until_empty(engine)

    seen = await read_records(addresses.broker, names)
    await delete_topics(addresses.broker, names)
    assert len(seen) == 20 * 7 + 50
    assert topics.VALIDATION_ERRORS in missing[0]


async def test_the_relay_recovers_from_a_restart_of_the_broker(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics, servers: EmbeddedServers
) -> None:
    async with running_relay(engine, addresses.broker, topic_prefix) as relay:
        await commit(engine, batch_rows("before"))
        await wait_until_empty(engine)
        await servers.kafka.kill()
        await commit(engine, rows_of_batches(20))
        await until(lambda: "publisher" in relay.status().errors)
        await servers.kafka.start()
        await wait_until_empty(engine, 60)
        await until(lambda: not relay.status().errors)

    seen = await read_records(addresses.broker, kafka_topics.values())
    assert len({(one.topic, one.value) for one in seen}) == 21 * 7
    assert (await backlog_of(engine)).deferred == 0


async def test_a_relay_that_starts_before_its_servers_waits_for_them(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics, servers: EmbeddedServers
) -> None:
    await commit(engine, rows_of_batches(5))
    await servers.stop()

    async with running_relay(engine, addresses.broker, topic_prefix) as relay:
        await until(lambda: relay.status().errors.keys() >= {"publisher", "shards", "listener"})
        await servers.start()
        await wait_until_empty(engine, 60)
        await until(lambda: not relay.status().errors)

    assert len(await read_records(addresses.broker, kafka_topics.values())) == 5 * 7


async def test_the_relay_recovers_from_a_restart_of_the_database(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: Topics, servers: EmbeddedServers
) -> None:
    async with running_relay(engine, addresses.broker, topic_prefix) as relay:
        await commit(engine, batch_rows("before"))
        await wait_until_empty(engine)
        await servers.postgres.kill()
        await until(lambda: relay.status().shards == 0)
        await servers.postgres.start()
        await until(lambda: relay.status().shards == SHARD_COUNT)
        await engine.dispose()
        await commit(engine, rows_of_batches(20))
        await wait_until_empty(engine)
        await until(lambda: not relay.status().errors)

    assert len(await read_records(addresses.broker, kafka_topics.values())) == 21 * 7


@pytest.mark.parametrize("server", ["kafka", "postgres"])
async def test_a_relay_stops_within_two_seconds_while_a_server_is_frozen(
    engine: AsyncEngine,
    addresses: Addresses,
    topic_prefix: str,
    kafka_topics: Topics,
    servers: EmbeddedServers,
    server: Literal["kafka", "postgres"],
) -> None:
    """The only test of the time limit that `Relay.stop` promises."""
    assert kafka_topics
    relay = Relay(engine, broker=addresses.broker, topic_prefix=topic_prefix, options=QUICK)
    await relay.start()
    await commit(engine, batch_rows("before"))
    await wait_until_empty(engine)
    match server:
        case "kafka":
            servers.kafka.pause()
            await commit(engine, rows_of_batches(20))
            await until(lambda: relay.status().in_flight > 0)
        case "postgres":
            servers.postgres.pause()
            relay.wake()
            await until(lambda: relay.status().shards == 0)

    async with asyncio.timeout(2):
        await relay.stop()

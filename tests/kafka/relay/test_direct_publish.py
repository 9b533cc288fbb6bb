"""Direct publish: rows that a process publishes after its own commit arrive complete, in order and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from itertools import cycle

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.embedded.servers import Addresses
from els_stream.queries import outbox_segments
from els_stream.queries.outbox_rows import HASH_SHARDS, SHARD_COUNT, OutboxRow, WaitingRow
from els_stream.queries.outbox_segments import MovedRow, Segment
from els_stream.relay import Relay
from tests.support.outbox_rows import batch_rows, commit, put_rows, row, rows_left, wait_until_empty
from tests.support.relays import (
    PARTITIONS,
    QUICK,
    PublishedRecord,
    assert_published_in_order,
    read_records,
    running_relay,
    timestamped_topics,
)
from tests.support.waiting import until

Topics = dict[str, str]

# No poll is due by itself, so only a direct publish or a wake publishes a row; no lease runs out on a busy machine.
LONG_TIMES = replace(
    QUICK, poll_interval_seconds=3600, lease_seconds=10, session_idle_timeout_seconds=15, deferral_max_seconds=7200
)
CONCURRENT_BATCHES = 4
# Enough keys to have some in every partition.
WARM_UP = [f"warm-up {number}" for number in range(4 * PARTITIONS)]
SHARDS_OF_KEYS = text("SELECT order_key, shard FROM event_outbox ORDER BY order_key, position")


class Unwanted(Exception):
    """Rolls a transaction back."""


@pytest.fixture
async def topic_names(addresses: Addresses, topic_prefix: str) -> AsyncIterator[Topics]:
    async with timestamped_topics(addresses.broker, topic_prefix) as names:
        yield names


@dataclass
class Polls:
    """The rows that relays of this process fetched, and how many polls began and ended."""

    rows: list[WaitingRow] = field(default_factory=list)
    begun: int = 0
    ended: int = 0


@pytest.fixture
def polls(monkeypatch: pytest.MonkeyPatch) -> Polls:
    polls = Polls()
    fetch = outbox_segments.fetch

    async def counting_fetch(
        conn: AsyncConnection, shards: Sequence[int], *, events: int, size: int
    ) -> tuple[list[Segment], bool]:
        polls.begun += 1
        found = await fetch(conn, shards, events=events, size=size)
        polls.rows += [one for segment in found[0] for one in segment.rows]
        polls.ended += 1
        return found

    monkeypatch.setattr(outbox_segments, "fetch", counting_fetch)
    return polls


async def publish_directly(relay: Relay, engine: AsyncEngine, rows: Sequence[OutboxRow]) -> None:
    async with relay.begin(engine) as conn:
        await put_rows(conn, rows)


async def wait_for_shards(*relays: Relay) -> None:
    """Wait until the relays own all shards, each the same number."""
    await until(lambda: {relay.status().shards for relay in relays} == {SHARD_COUNT // len(relays)}, seconds=10)


async def warm_up(engine: AsyncEngine, polls: Polls, *relays: Relay) -> None:
    """Publish until all partitions of the new topics have a leader; before that, rows fail and are fetched again.

    After it, no relay polls before the next wake.
    """
    await wait_for_shards(*relays)
    for relay in relays:
        for key in WARM_UP:
            await publish_directly(relay, engine, batch_rows(key))
        await wait_until_empty(engine)
        await until(partial(nothing_in_flight, relay))
        begun = polls.begun
        relay.wake()
        await until(partial(has_polled, polls, begun))
    polls.rows.clear()


def nothing_in_flight(relay: Relay) -> bool:
    return relay.status().in_flight == 0


def has_polled(polls: Polls, before: int) -> bool:
    """Return whether a poll that began after that many polls has ended."""
    return polls.ended > before


def without_warm_up(seen: Sequence[PublishedRecord]) -> list[PublishedRecord]:
    return [one for one in seen if one.key is not None and one.key.decode() not in WARM_UP]


async def test_direct_rows_are_published_once_and_in_order_without_a_fetch(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, topic_names: Topics, polls: Polls
) -> None:
    rows_by_batch = {f"batch {number}": batch_rows(f"batch {number}") for number in range(20)}
    async with running_relay(engine, addresses.broker, topic_prefix, LONG_TIMES) as relay:
        await warm_up(engine, polls, relay)
        for rows in rows_by_batch.values():
            await publish_directly(relay, engine, rows)
        await wait_until_empty(engine)

    assert polls.rows == []
    seen = without_warm_up(await read_records(addresses.broker, topic_names.values()))
    assert len(seen) == 20 * 7
    assert_published_in_order(seen, rows_by_batch, topic_prefix)


async def test_order_holds_with_and_without_direct_publish(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, topic_names: Topics, polls: Polls
) -> None:
    """Two relays and a writer without a relay commit one event at a time, and do not wait for its publishing."""
    rows_by_batch = {f"batch {number}": batch_rows(f"batch {number}") for number in range(80)}
    async with (
        running_relay(engine, addresses.broker, topic_prefix, LONG_TIMES) as one,
        running_relay(engine, addresses.broker, topic_prefix, LONG_TIMES) as two,
    ):
        writers = cycle((one, two, None, two, None, one, one))

        async def write(rows: Sequence[OutboxRow]) -> None:
            for event in rows:
                if relay := next(writers):
                    await publish_directly(relay, engine, [event])
                else:
                    await commit(engine, [event])

        await warm_up(engine, polls, one, two)
        together = list(rows_by_batch.values())
        for start in range(0, len(together), CONCURRENT_BATCHES):
            await asyncio.gather(*map(write, together[start : start + CONCURRENT_BATCHES]))
        await wait_until_empty(engine)

    seen = without_warm_up(await read_records(addresses.broker, topic_names.values()))
    assert 0 < len(polls.rows) < 80 * 7, "both ways must occur"
    assert len(seen) == 80 * 7
    assert_published_in_order(seen, rows_by_batch, topic_prefix)


async def test_rolled_back_rows_are_not_published_and_later_rows_are(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, topic_names: Topics, polls: Polls
) -> None:
    async with running_relay(engine, addresses.broker, topic_prefix, LONG_TIMES) as relay:
        await warm_up(engine, polls, relay)
        for number in range(2 * (SHARD_COUNT - HASH_SHARDS)):  # each direct shard is used twice
            with suppress(Unwanted):
                async with relay.begin(engine) as conn:
                    await put_rows(conn, batch_rows(f"unwanted {number}"))
                    raise Unwanted
        begun = polls.begun
        relay.wake()
        await until(partial(has_polled, polls, begun))
        await publish_directly(relay, engine, batch_rows("wanted"))
        await wait_until_empty(engine)

    assert polls.rows == []
    seen = without_warm_up(await read_records(addresses.broker, topic_names.values()))
    assert_published_in_order(seen, {"wanted": batch_rows("wanted")}, topic_prefix)


async def test_rows_of_a_rolled_back_savepoint_are_not_published(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, topic_names: Topics
) -> None:
    async with running_relay(engine, addresses.broker, topic_prefix, LONG_TIMES) as relay:
        await wait_for_shards(relay)
        async with relay.begin(engine) as conn:
            await put_rows(conn, batch_rows("before"))
            with suppress(Unwanted):
                async with conn.begin_nested():
                    await put_rows(conn, batch_rows("rolled back"))
                    raise Unwanted
            async with conn.begin_nested():
                await put_rows(conn, batch_rows("kept"))
        await wait_until_empty(engine)

    seen = await read_records(addresses.broker, topic_names.values())
    assert_published_in_order(seen, {"before": batch_rows("before"), "kept": batch_rows("kept")}, topic_prefix)


async def test_events_after_a_deferred_one_wait_in_its_shard(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, topic_names: Topics
) -> None:
    first, *others = batch_rows("deferred")
    await commit(engine, [first])
    async with engine.begin() as conn:
        [segment], _ = await outbox_segments.fetch(conn, range(SHARD_COUNT), events=10, size=2**20)
        failed = [MovedRow(segment.position, one, "too large") for one in segment.rows]
        await outbox_segments.move_aside(conn, [segment], failed, timedelta(hours=1))

    async with running_relay(engine, addresses.broker, topic_prefix, LONG_TIMES) as relay:
        await wait_for_shards(relay)
        await publish_directly(relay, engine, [*others, *batch_rows("free")])

        async def only_the_deferred_key_is_left() -> bool:
            return await rows_left(engine) == 1 + len(others)

        await until(only_the_deferred_key_is_left, seconds=10)

    async with engine.connect() as conn:
        shards = (await conn.execute(SHARDS_OF_KEYS)).all()
    assert {key for key, _ in shards} == {"deferred"}
    assert len(shards) == 1 + len(others)
    assert len({shard for _, shard in shards}) == 1
    assert_published_in_order(
        await read_records(addresses.broker, topic_names.values()), {"free": batch_rows("free")}, topic_prefix
    )


async def test_rows_that_exceed_the_direct_queue_are_fetched(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, topic_names: Topics, polls: Polls
) -> None:
    rows = [row("large", number, padding=1000) for number in range(1, 21)]
    async with running_relay(engine, addresses.broker, topic_prefix, replace(LONG_TIMES, fetch_bytes=5000)) as relay:
        await wait_for_shards(relay)
        await publish_directly(relay, engine, rows)
        await wait_until_empty(engine)

    assert len(polls.rows) >= 20
    assert_published_in_order(await read_records(addresses.broker, topic_names.values()), {"large": rows}, topic_prefix)

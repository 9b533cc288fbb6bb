"""Rows that a process sends itself after its commit: as whole, as ordered and as single as those that are read back."""

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
from els_stream.queries import outbox
from els_stream.queries.outbox import put
from els_stream.queries.outbox_rows import HASH_SHARDS, SHARD_COUNT, FailedRow, OutboxRow, WaitingRow
from els_stream.relay import Relay
from tests.support.outbox_rows import commit, emptied, left, row, story
from tests.support.relays import (
    PARTITIONS,
    QUICK,
    Seen,
    assert_all_arrived_in_order,
    read_all,
    relaying,
    stamped_topics,
)
from tests.support.waiting import until

Topics = dict[str, str]

# So long that nothing but a hand-over or a wake can be why a row left; and on a busy machine no lease runs out.
UNHURRIED = replace(QUICK, poll_interval_seconds=3600, lease_seconds=10, session_idle_timeout_seconds=15)
AT_ONCE = 4
# Their keys come to lie in every partition.
WARM_UP = [f"warms up {number}" for number in range(4 * PARTITIONS)]
PLACES = text("SELECT order_key, shard FROM event_outbox ORDER BY order_key, position")


class Unwanted(Exception):
    """What ends a transaction."""


@pytest.fixture
async def stamped(addresses: Addresses, topic_prefix: str) -> AsyncIterator[Topics]:
    async with stamped_topics(addresses.broker, topic_prefix) as names:
        yield names


@dataclass
class Reads:
    """What relays of this process read back, and how often they looked."""

    rows: list[WaitingRow] = field(default_factory=list)
    begun: int = 0
    ended: int = 0


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    seen = Reads()
    real = outbox.fetch

    async def watched(conn: AsyncConnection, shards: Sequence[int], *, rows: int, size: int) -> list[WaitingRow]:
        seen.begun += 1
        found = await real(conn, shards, rows=rows, size=size)
        seen.rows += found
        seen.ended += 1
        return found

    monkeypatch.setattr(outbox, "fetch", watched)
    return seen


async def hand_over(relay: Relay, engine: AsyncEngine, rows: Sequence[OutboxRow]) -> None:
    async with relay.begin(engine) as conn:
        await put(conn, rows)


async def owning_all(*relays: Relay) -> None:
    """Each of them a fair part."""
    await until(lambda: {relay.status().shards for relay in relays} == {SHARD_COUNT // len(relays)}, seconds=10)


async def warmed_up(engine: AsyncEngine, reads: Reads, *relays: Relay) -> None:
    """A topic that was just made has partitions without a leader, and what fails at first is read back.

    Once it returns no relay looks at the outbox before it is told to.
    """
    await owning_all(*relays)
    for relay in relays:
        for key in WARM_UP:
            await hand_over(relay, engine, story(key))
        await emptied(engine)
        await until(partial(nothing_in_flight, relay))
        begun = reads.begun
        relay.wake()
        await until(partial(has_looked, reads, begun))
    reads.rows.clear()


def nothing_in_flight(relay: Relay) -> bool:
    return relay.status().in_flight == 0


def has_looked(reads: Reads, before: int) -> bool:
    """A look that began after this many has ended."""
    return reads.ended > before


def without_warm_up(seen: Sequence[Seen]) -> list[Seen]:
    return [one for one in seen if one.key is not None and one.key.decode() not in WARM_UP]


async def test_what_is_handed_over_leaves_once_and_in_order_and_is_not_read_back(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, stamped: Topics, reads: Reads
) -> None:
    stories = {f"batch {number}": story(f"batch {number}") for number in range(20)}
    async with relaying(engine, addresses.broker, topic_prefix, UNHURRIED) as relay:
        await warmed_up(engine, reads, relay)
        for rows in stories.values():
            await hand_over(relay, engine, rows)
        await emptied(engine)

    assert reads.rows == []
    seen = without_warm_up(await read_all(addresses.broker, stamped.values()))
    assert len(seen) == 20 * 7
    assert_all_arrived_in_order(seen, stories, topic_prefix)


async def test_order_holds_whoever_writes_and_whoever_hands_over(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, stamped: Topics, reads: Reads
) -> None:
    """Two processes and a third without a relay, an event each at a time, none of which waits for the one before."""
    stories = {f"batch {number}": story(f"batch {number}") for number in range(80)}
    async with (
        relaying(engine, addresses.broker, topic_prefix, UNHURRIED) as one,
        relaying(engine, addresses.broker, topic_prefix, UNHURRIED) as two,
    ):
        writers = cycle((one, two, None, two, None, one, one))

        async def tell(rows: Sequence[OutboxRow]) -> None:
            for event in rows:
                if relay := next(writers):
                    await hand_over(relay, engine, [event])
                else:
                    await commit(engine, [event])

        await warmed_up(engine, reads, one, two)
        together = list(stories.values())
        for start in range(0, len(together), AT_ONCE):
            await asyncio.gather(*map(tell, together[start : start + AT_ONCE]))
        await emptied(engine)

    seen = without_warm_up(await read_all(addresses.broker, stamped.values()))
    assert 0 < len(reads.rows) < 80 * 7, "a good test has both kinds"
    assert len(seen) == 80 * 7
    assert_all_arrived_in_order(seen, stories, topic_prefix)


async def test_what_is_rolled_back_is_not_sent_and_the_next_is(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, stamped: Topics, reads: Reads
) -> None:
    async with relaying(engine, addresses.broker, topic_prefix, UNHURRIED) as relay:
        await warmed_up(engine, reads, relay)
        for number in range(2 * (SHARD_COUNT - HASH_SHARDS)):  # none of the shards to lend is lost by it
            with suppress(Unwanted):
                async with relay.begin(engine) as conn:
                    await put(conn, story(f"unwanted {number}"))
                    raise Unwanted
        await hand_over(relay, engine, story("wanted"))
        await emptied(engine)

    assert reads.rows == []
    seen = without_warm_up(await read_all(addresses.broker, stamped.values()))
    assert_all_arrived_in_order(seen, {"wanted": story("wanted")}, topic_prefix)


async def test_what_a_savepoint_gives_up_is_not_sent(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, stamped: Topics
) -> None:
    async with relaying(engine, addresses.broker, topic_prefix, UNHURRIED) as relay:
        await owning_all(relay)
        async with relay.begin(engine) as conn:
            await put(conn, story("before"))
            with suppress(Unwanted):
                async with conn.begin_nested():
                    await put(conn, story("given up"))
                    raise Unwanted
            async with conn.begin_nested():
                await put(conn, story("kept"))
        await emptied(engine)

    seen = await read_all(addresses.broker, stamped.values())
    assert_all_arrived_in_order(seen, {"before": story("before"), "kept": story("kept")}, topic_prefix)


async def test_what_follows_a_held_row_waits_with_it_in_one_share(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, stamped: Topics
) -> None:
    first, *others = story("held")
    await commit(engine, [first])
    async with engine.begin() as conn:
        rows = await outbox.fetch(conn, range(SHARD_COUNT), rows=10, size=2**20)
        held = [FailedRow(one, "too large") for one in rows]
        await outbox.schedule_retry(conn, held, min_delay=timedelta(hours=1), max_delay=timedelta(hours=1))

    async with relaying(engine, addresses.broker, topic_prefix, UNHURRIED) as relay:
        await owning_all(relay)
        await hand_over(relay, engine, [*others, *story("free")])

        async def only_the_held_are_left() -> bool:
            return await left(engine) == 1 + len(others)

        await until(only_the_held_are_left, seconds=10)

    async with engine.connect() as conn:
        places = (await conn.execute(PLACES)).all()
    assert {key for key, _ in places} == {"held"}
    assert len(places) == 1 + len(others)
    assert len({shard for _, shard in places}) == 1
    assert_all_arrived_in_order(
        await read_all(addresses.broker, stamped.values()), {"free": story("free")}, topic_prefix
    )


async def test_what_is_too_much_to_keep_in_memory_is_read_back(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, stamped: Topics, reads: Reads
) -> None:
    rows = [row("large", number, padding=1000) for number in range(1, 21)]
    async with relaying(engine, addresses.broker, topic_prefix, replace(UNHURRIED, fetch_bytes=5000)) as relay:
        await owning_all(relay)
        await hand_over(relay, engine, rows)
        await emptied(engine)

    assert len(reads.rows) >= 20
    assert_all_arrived_in_order(await read_all(addresses.broker, stamped.values()), {"large": rows}, topic_prefix)

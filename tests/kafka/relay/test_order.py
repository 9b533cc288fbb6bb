"""Order and completeness when relays freeze or die at the worst moment, counting the first copy of each row."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses
from tests.support.outbox_rows import batch_rows, commit_one_by_one, rows_left, wait_until_empty
from tests.support.relays import assert_published_in_order, read_records, relay_process, timestamped_topics
from tests.support.waiting import until

Topics = dict[str, str]

ROUNDS = 6
BATCHES_PER_ROUND = 60


def batch_ids(round_: int) -> list[str]:
    return [f"round {round_} batch {number}" for number in range(BATCHES_PER_ROUND)]


def reached(done: list[int], number: int) -> bool:
    return len(done) > number


@pytest.fixture
async def topic_names(addresses: Addresses, topic_prefix: str) -> AsyncIterator[Topics]:
    async with timestamped_topics(addresses.broker, topic_prefix) as names:
        yield names


async def test_order_holds_over_three_relays_while_one_is_frozen_and_resumed(
    engine: AsyncEngine, database: str, addresses: Addresses, topic_prefix: str, topic_names: Topics
) -> None:
    where = (database, addresses.broker, topic_prefix)
    async with relay_process(*where) as one, relay_process(*where), relay_process(*where):
        for round_ in range(ROUNDS):
            writing = asyncio.create_task(commit_one_by_one(engine, batch_ids(round_)))
            one.send_signal(signal.SIGSTOP)
            await writing
            # Its shards wait until PostgreSQL has ended its session; then the other relays own them.
            await wait_until_empty(engine)
            writing = asyncio.create_task(commit_one_by_one(engine, batch_ids(round_ + ROUNDS)))
            one.send_signal(signal.SIGCONT)
            await writing
        await wait_until_empty(engine)

    seen = await read_records(addresses.broker, topic_names.values())
    rows_by_batch = {batch: batch_rows(batch) for round_ in range(2 * ROUNDS) for batch in batch_ids(round_)}
    assert_published_in_order(seen, rows_by_batch, topic_prefix)


async def test_a_kill_between_ack_and_delete_makes_copies_with_equal_ids_and_bytes(
    engine: AsyncEngine, database: str, addresses: Addresses, topic_prefix: str, topic_names: Topics
) -> None:
    where = (database, addresses.broker, topic_prefix)
    rows_by_batch = {batch: batch_rows(batch) for batch in batch_ids(0)}
    await commit_one_by_one(engine, rows_by_batch)
    async with relay_process(*where, "die-before-delete") as doomed:
        assert await doomed.wait() == -signal.SIGKILL
    acked = len(await read_records(addresses.broker, topic_names.values()))
    kept = await rows_left(engine)

    async with relay_process(*where):
        await wait_until_empty(engine)

    seen = await read_records(addresses.broker, topic_names.values())
    copies = Counter((one.key, one.value, one.topic, one.headers) for one in seen)
    assert acked > 0
    assert kept == len(copies) == BATCHES_PER_ROUND * 7
    assert len(seen) == acked + kept
    assert max(copies.values()) == 2
    assert_published_in_order(seen, rows_by_batch, topic_prefix)


async def test_relays_that_are_killed_repeatedly_lose_nothing_and_keep_the_order(
    engine: AsyncEngine, database: str, addresses: Addresses, topic_prefix: str, topic_names: Topics
) -> None:
    where = (database, addresses.broker, topic_prefix)
    for round_ in range(ROUNDS):
        done: list[int] = []
        async with relay_process(*where) as doomed, relay_process(*where):
            await commit_one_by_one(engine, [f"warm-up {round_}"])
            await wait_until_empty(engine)
            writing = asyncio.create_task(commit_one_by_one(engine, batch_ids(round_), done))
            # In each round at another moment, with rows that were just committed.
            await until(partial(reached, done, round_), every=0.001)
            doomed.kill()
            await writing
    async with relay_process(*where):
        await wait_until_empty(engine)

    seen = await read_records(addresses.broker, topic_names.values())
    batches = [batch for round_ in range(ROUNDS) for batch in (f"warm-up {round_}", *batch_ids(round_))]
    assert_published_in_order(seen, {batch: batch_rows(batch) for batch in batches}, topic_prefix)

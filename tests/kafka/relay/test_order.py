"""Order and completeness when relays freeze or die at the worst moment, counting the first copy of each row."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses
from tests.support.outbox_rows import commit_bit_by_bit, emptied, left, story
from tests.support.relays import assert_all_arrived_in_order, read_all, relay_process, stamped_topics
from tests.support.waiting import until

Topics = dict[str, str]

WAVES = 6
PER_WAVE = 60


def names(wave: int) -> list[str]:
    return [f"wave {wave} batch {number}" for number in range(PER_WAVE)]


def reached(done: list[int], wave: int) -> bool:
    return len(done) > wave


@pytest.fixture
async def stamped(addresses: Addresses, topic_prefix: str) -> AsyncIterator[Topics]:
    async with stamped_topics(addresses.broker, topic_prefix) as names_on_the_broker:
        yield names_on_the_broker


async def test_order_holds_over_three_relays_of_which_one_is_frozen_and_woken(
    engine: AsyncEngine, database: str, addresses: Addresses, topic_prefix: str, stamped: Topics
) -> None:
    where = (database, addresses.broker, topic_prefix)
    async with relay_process(*where) as one, relay_process(*where), relay_process(*where):
        for wave in range(WAVES):
            writing = asyncio.create_task(commit_bit_by_bit(engine, names(wave)))
            one.send_signal(signal.SIGSTOP)
            await writing
            # Nothing of its shards leaves before PostgreSQL has ended its session; then the others have them all.
            await emptied(engine)
            writing = asyncio.create_task(commit_bit_by_bit(engine, names(wave + WAVES)))
            one.send_signal(signal.SIGCONT)
            await writing
        await emptied(engine)

    seen = await read_all(addresses.broker, stamped.values())
    stories = {batch: story(batch) for wave in range(2 * WAVES) for batch in names(wave)}
    assert_all_arrived_in_order(seen, stories, topic_prefix)


async def test_a_kill_between_ack_and_delete_gives_copies_with_the_same_id_and_bytes(
    engine: AsyncEngine, database: str, addresses: Addresses, topic_prefix: str, stamped: Topics
) -> None:
    where = (database, addresses.broker, topic_prefix)
    stories = {batch: story(batch) for batch in names(0)}
    await commit_bit_by_bit(engine, stories)
    async with relay_process(*where, "die-before-delete") as doomed:
        assert await doomed.wait() == -signal.SIGKILL
    acked = len(await read_all(addresses.broker, stamped.values()))
    kept = await left(engine)

    async with relay_process(*where):
        await emptied(engine)

    seen = await read_all(addresses.broker, stamped.values())
    copies = Counter((one.key, one.value, one.topic, one.headers) for one in seen)
    assert acked > 0
    assert kept == len(copies) == PER_WAVE * 7
    assert len(seen) == acked + kept
    assert max(copies.values()) == 2
    assert_all_arrived_in_order(seen, stories, topic_prefix)


async def test_relays_killed_over_and_over_lose_nothing_and_keep_the_order(
    engine: AsyncEngine, database: str, addresses: Addresses, topic_prefix: str, stamped: Topics
) -> None:
    where = (database, addresses.broker, topic_prefix)
    for wave in range(WAVES):
        done: list[int] = []
        async with relay_process(*where) as doomed, relay_process(*where):
            await commit_bit_by_bit(engine, [f"warms up wave {wave}"])
            await emptied(engine)
            writing = asyncio.create_task(commit_bit_by_bit(engine, names(wave), done))
            # At another moment in each wave, with rows just committed.
            await until(partial(reached, done, wave), every=0.001)
            doomed.kill()
            await writing
    async with relay_process(*where):
        await emptied(engine)

    seen = await read_all(addresses.broker, stamped.values())
    batches = [batch for wave in range(WAVES) for batch in (f"warms up wave {wave}", *names(wave))]
    assert_all_arrived_in_order(seen, {batch: story(batch) for batch in batches}, topic_prefix)

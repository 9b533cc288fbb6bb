"""Events that the broker refuses leave their segment, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from els_stream.failpoints import EXIT_CODE, Failpoint
from els_stream.queries.outbox_rows import OutboxRow
from tests.support.outbox_rows import batch_rows, commit, row, rows_left, wait_until_empty
from tests.support.relays import (
    assert_published_in_order,
    read_records,
    relay_process,
    running_relay,
    set_topic_config,
    timestamped_topics,
)
from tests.support.waiting import until

Topics = dict[str, str]
SMALL = 20_000
WARM_UP = {f"warm-up {number}": batch_rows(f"warm-up {number}") for number in range(16)}
REFUSED = "refused"
EVENTS_OF_REFUSED = text("""
    SELECT sequence, attempts > 0 AS tried FROM event_outbox WHERE order_key = :key ORDER BY position
""")


@pytest.fixture
async def topic_names(addresses: Addresses, topic_prefix: str) -> AsyncIterator[Topics]:
    """Topics of which that of the assignments takes small records only."""
    async with timestamped_topics(addresses.broker, topic_prefix, **{topics.SLOT_ASSIGNED: SMALL}) as names:
        yield names


def refused(first: int, last: int) -> list[OutboxRow]:
    """Return events of which the third one is too large."""
    return [row(REFUSED, number, padding=SMALL if number == 3 else 0) for number in range(first, last + 1)]


async def exceptions(engine: AsyncEngine) -> list[tuple[int, bool]]:
    async with engine.connect() as conn:
        return [(found.sequence, found.tried) for found in await conn.execute(EVENTS_OF_REFUSED, {"key": REFUSED})]


async def warm_up(engine: AsyncEngine, broker: str, prefix: str) -> None:
    """Publish until all partitions of the new topics have a leader; before that, any event may be refused."""
    for rows in WARM_UP.values():
        await commit(engine, rows)
    async with running_relay(engine, broker, prefix):
        await wait_until_empty(engine)


@pytest.mark.parametrize("point", [Failpoint.AFTER_SEND, Failpoint.AFTER_MOVE_ASIDE, Failpoint.AFTER_SEGMENT_DELETE])
async def test_a_crash_around_moving_aside_loses_nothing_and_keeps_the_order(
    engine: AsyncEngine, addresses: Addresses, database: str, topic_prefix: str, topic_names: Topics, point: Failpoint
) -> None:
    """Refused events in the middle of segments, several of one key and shard."""
    await warm_up(engine, addresses.broker, topic_prefix)
    others = {f"batch {number}": batch_rows(f"batch {number}") for number in range(6)}
    await commit(engine, [one for rows in others.values() for one in rows[:3]] + refused(1, 4))
    await commit(engine, refused(5, 6) + [one for rows in others.values() for one in rows[3:]])
    others["without a refusal"] = batch_rows("without a refusal")
    await commit(engine, others["without a refusal"])

    async with relay_process(database, addresses.broker, topic_prefix, crash_at=point) as crashing:
        async with asyncio.timeout(30):
            assert await crashing.wait() == EXIT_CODE
    await commit(engine, refused(7, 7))

    async with running_relay(engine, addresses.broker, topic_prefix) as relay:

        async def only_refused_are_left() -> bool:
            return await rows_left(engine) == 5

        await until(only_refused_are_left, seconds=30)
        assert await exceptions(engine) == [(3, True), (4, False), (5, False), (6, False), (7, False)]
        await set_topic_config(addresses.broker, topic_names[topics.SLOT_ASSIGNED], max_message_bytes="50000")
        relay.wake()
        await wait_until_empty(engine)

    seen = await read_records(addresses.broker, topic_names.values())
    assert_published_in_order(seen, {**WARM_UP, **others, REFUSED: refused(1, 7)}, topic_prefix)

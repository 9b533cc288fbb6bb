"""A relay whose clock is two hours ahead: the broker refuses every record that it sends."""

from __future__ import annotations

from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses
from els_stream.queries.outbox_backlog import read_backlog
from els_stream.queries.outbox_rows import SHARD_COUNT, OutboxRow
from els_stream.relay.producer import Producer
from tests.support import clock, waiting
from tests.support.outbox_rows import batch_rows, commit, wait_until_empty
from tests.support.relays import read_records, relay_process, running_relay

BATCHES = 20

until = partial(waiting.until, seconds=20)


def rows_of_batches(name: str) -> list[OutboxRow]:
    return [row for number in range(BATCHES) for row in batch_rows(f"{name} {number}")]


async def attempts(engine: AsyncEngine) -> int:
    """Return how often rows in the outbox were rejected."""
    async with engine.connect() as conn:
        found = await conn.scalar(text("SELECT coalesce(sum(attempts), 0) FROM event_outbox"))
        assert (await read_backlog(conn)).deferred == 0
    return int(found or 0)


async def test_a_relay_that_is_alone_reports_it_defers_no_row_and_recovers_with_its_clock(
    engine: AsyncEngine,
    addresses: Addresses,
    topic_prefix: str,
    kafka_topics: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened = 0
    open_producer = Producer.open

    async def counted(producer: Producer) -> None:
        nonlocal opened
        opened += 1
        await open_producer(producer)

    monkeypatch.setattr(Producer, "open", counted)
    await commit(engine, rows_of_batches("batch"))

    with monkeypatch.context() as wrong:
        wrong.setattr(clock.BatchBuilder, "append", clock.append_ahead)
        async with running_relay(engine, addresses.broker, topic_prefix) as relay:
            await until(lambda: "records" in relay.status().errors)
            status = relay.status()
            # One for each publisher at its start and one for each of its attempts, with a backoff between them.
            assert opened <= 6
            assert "InvalidTimestamp" in status.errors["records"]
            assert (status.acked, status.rejected, status.shards) == (0, 0, SHARD_COUNT)
            assert await attempts(engine) == 0
            wrong.undo()
            await wait_until_empty(engine, 30)
            await until(lambda: not relay.status().errors)

    assert len(await read_records(addresses.broker, kafka_topics.values())) == BATCHES * 7


async def test_a_relay_with_a_right_clock_takes_the_shards_and_finishes_the_work(
    engine: AsyncEngine, addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str]
) -> None:
    commits = 0

    async def commit_more() -> None:
        nonlocal commits
        commits += 1
        await commit(engine, rows_of_batches(f"commit {commits}"))

    async with relay_process(database, addresses.broker, topic_prefix, "clock-ahead"):
        await commit_more()
        async with running_relay(engine, addresses.broker, topic_prefix) as relay:

            async def has_all_shards() -> bool:
                """Without more rows the other would not stand aside again, and would keep the shards that it has."""
                if relay.status().shards < SHARD_COUNT:
                    await commit_more()
                return relay.status().shards == SHARD_COUNT

            await until(has_all_shards, every=0.1)
            await wait_until_empty(engine, 30)
            await commit_more()
            await wait_until_empty(engine, 30)
            status = relay.status()

    assert (status.acked, status.rejected, status.errors) == (commits * BATCHES * 7, 0, {})
    assert len(await read_records(addresses.broker, kafka_topics.values())) == commits * BATCHES * 7

"""A topic that refuses every row: it is found out with few attempts, and the other topics are published."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses
from els_stream.events import topics
from els_stream.events.outbound_event import OutboundEvent
from els_stream.kafka.topics import MIB, TOPICS, TopicPlan, delete_topics, ensure_topics
from els_stream.queries.outbox_rows import OutboxRow
from els_stream.relay.producer import Producer
from tests.support.outbox_rows import commit, row
from tests.support.relays import QUICK, read_records, running_relay
from tests.support.waiting import until

ROWS = 64
# No row is tried again within the test.
ONE_ATTEMPT = replace(QUICK, deferral_initial_seconds=3600, deferral_max_seconds=3600)


class CompactedPlan(TopicPlan):
    """The broker refuses every record without a key."""

    def config(self, replication_factor: int) -> dict[str, str]:
        return super().config(replication_factor) | {"cleanup.policy": "compact"}


def without_key(number: int) -> OutboxRow:
    event = row(f"batch {number}", 1, topics.DEAD_LETTER).event
    keyless = OutboundEvent.with_headers(event.event_id, event.topic, None, event.value, event.headers)
    return OutboxRow(f"batch {number}", 1, keyless)


async def test_a_topic_that_refuses_every_row_is_found_out_with_few_producers(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = 0
    open_producer = Producer.open

    async def counted(producer: Producer) -> None:
        nonlocal opened
        opened += 1
        await open_producer(producer)

    monkeypatch.setattr(Producer, "open", counted)
    others = [plan for plan in TOPICS if plan.topic != topics.DEAD_LETTER]
    await ensure_topics(
        addresses.broker, topic_prefix, partitions=4, topics=[*others, CompactedPlan(topics.DEAD_LETTER, 1, MIB)]
    )
    await commit(engine, [without_key(number) for number in range(ROWS)] + [row("other", 1)])

    async with running_relay(engine, addresses.broker, topic_prefix, ONE_ATTEMPT) as relay:
        await until(lambda: all_deferred_once(engine), seconds=20)
        assert relay.status().acked == 1
        # One batch per partition, and for each at most a way down to two rows alone: all rows alone would take 128.
        assert opened <= 50

    seen = await read_records(addresses.broker, [topic_prefix + topics.SLOT_ASSIGNED])
    await delete_topics(addresses.broker, [topic_prefix + plan.topic for plan in TOPICS])
    assert [one.key for one in seen] == [b"other"]


async def all_deferred_once(engine: AsyncEngine) -> bool:
    async with engine.connect() as conn:
        found = await conn.scalar(text("SELECT count(*) FROM event_outbox WHERE attempts > 0"))
    return bool(found == ROWS)

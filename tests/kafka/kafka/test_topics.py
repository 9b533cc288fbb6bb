"""The partitions that the broker has, asked for directly and within a time limit."""

from __future__ import annotations

import asyncio

import pytest

from els_stream.embedded.servers import Addresses
from els_stream.errors import ServersUnavailable
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from els_stream.kafka import topics
from els_stream.kafka.offsets import Partition
from tests.support.silent_server import silent_server


async def test_all_partitions_of_the_named_topics_are_listed(
    addresses: Addresses, kafka_topics: dict[str, str]
) -> None:
    names = [kafka_topics[CONTENT_PROVISIONED], kafka_topics[BATCH_REGISTERED]]

    found = await topics.list_partitions(addresses.broker, names)

    assert found == {Partition(name, number) for name in names for number in range(4)}


async def test_a_missing_topic_has_no_partitions(addresses: Addresses, topic_prefix: str) -> None:
    assert await topics.list_partitions(addresses.broker, [f"{topic_prefix}nowhere"]) == frozenset()


async def test_a_broker_that_is_away_raises() -> None:
    with pytest.raises(ServersUnavailable):
        await topics.list_partitions("127.0.0.1:1", ["topic"])


async def test_a_broker_that_accepts_and_never_answers_raises_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "DESCRIBE_TIMEOUT_SECONDS", 0.2)

    async with silent_server() as silent, asyncio.timeout(5):
        with pytest.raises(ServersUnavailable, match="TimeoutError"):
            await topics.list_partitions(silent, ["topic"])

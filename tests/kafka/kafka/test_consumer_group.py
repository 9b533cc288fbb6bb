from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer

from els_stream.embedded.servers import Addresses
from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.consumer_group import ConsumerGroup, Ownership
from els_stream.observability.health import Code, Reason, group_reasons
from tests.support.waiting import until

ALL = len(INPUT_TOPICS) * 4


@pytest.fixture
async def group(addresses: Addresses, topic_prefix: str, kafka_topics: dict[str, str]) -> AsyncIterator[ConsumerGroup]:
    group = ConsumerGroup(addresses.broker, f"{topic_prefix}group", [kafka_topics[topic] for topic in INPUT_TOPICS])
    yield group
    await group.close()


@asynccontextmanager
async def member(addresses: Addresses, topic_prefix: str, *topics: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=addresses.broker, group_id=f"{topic_prefix}group")
    await consumer.start()
    yield consumer
    await consumer.stop()


async def until_found(group: ConsumerGroup, wanted: Callable[[list[Reason]], bool]) -> list[Reason]:
    found: list[Reason] = []

    async def is_wanted() -> bool:
        found[:] = group_reasons(await group.describe())
        return wanted(found)

    await until(is_wanted, seconds=15)
    return found


async def test_a_group_without_members_owns_nothing(group: ConsumerGroup) -> None:
    # A broker that never had a group makes the topic of group offsets first.
    (reason,) = await until_found(group, lambda reasons: [r.code for r in reasons] == [Code.UNASSIGNED])

    assert reason.detail.startswith(f"{ALL} of {ALL}")


async def test_partitions_are_owned_once_living_members_have_all_of_them(
    group: ConsumerGroup, addresses: Addresses, topic_prefix: str, kafka_topics: dict[str, str]
) -> None:
    names = [kafka_topics[topic] for topic in INPUT_TOPICS]
    async with member(addresses, topic_prefix, *names):
        await until_found(group, lambda reasons: reasons == [])

        async with member(addresses, topic_prefix, *names):
            await until_found(group, lambda reasons: reasons == [])

    await until_found(group, lambda reasons: [r.code for r in reasons] == [Code.UNASSIGNED])


async def test_a_worker_outside_the_group_is_reported_although_all_partitions_are_owned(
    group: ConsumerGroup, addresses: Addresses, topic_prefix: str, kafka_topics: dict[str, str]
) -> None:
    async with member(addresses, topic_prefix, *(kafka_topics[topic] for topic in INPUT_TOPICS)):
        await until_found(group, lambda reasons: reasons == [])
        described = await group.describe()
        assert isinstance(described, Ownership)
        (member_id,) = described.members

    assert group_reasons(described, member_id) == []
    assert [reason.code for reason in group_reasons(described, "another")] == [Code.NOT_IN_GROUP]


async def test_a_topic_without_a_reader_is_unassigned(
    group: ConsumerGroup, addresses: Addresses, topic_prefix: str, kafka_topics: dict[str, str]
) -> None:
    read, *_ = [kafka_topics[topic] for topic in INPUT_TOPICS]
    async with member(addresses, topic_prefix, read):
        (reason,) = await until_found(group, lambda reasons: any(f"{ALL - 4} of" in r.detail for r in reasons))

    assert reason.code == Code.UNASSIGNED


async def test_a_missing_topic_is_reported(addresses: Addresses, topic_prefix: str) -> None:
    group = ConsumerGroup(addresses.broker, f"{topic_prefix}group", [f"{topic_prefix}nowhere"])

    reasons = group_reasons(await group.describe())
    await group.close()

    assert [(r.code, "no such topic" in r.detail) for r in reasons] == [(Code.UNASSIGNED, True)]


async def test_a_missing_output_topic_is_reported_and_not_created(
    addresses: Addresses, topic_prefix: str, kafka_topics: dict[str, str]
) -> None:
    missing = f"{topic_prefix}nowhere"
    group = ConsumerGroup(addresses.broker, f"{topic_prefix}group", [], [*kafka_topics.values(), missing])

    for _ in range(2):
        found = await group.describe()
        assert isinstance(found, Ownership)
        assert (found.missing_outputs, found.partitions) == ((missing,), frozenset())
    await group.close()


async def test_a_broker_that_is_away_is_a_reason_and_not_an_error() -> None:
    group = ConsumerGroup("127.0.0.1:1", "group", ["topic"])

    assert [reason.code for reason in group_reasons(await group.describe())] == [Code.BROKER]

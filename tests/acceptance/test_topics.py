from __future__ import annotations

import json

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from els_stream.embedded.servers import Addresses, EmbeddedServers
from els_stream.errors import ServersUnavailable
from els_stream.events.topics import BATCH_REGISTERED, DEAD_LETTER, SLOT_ASSIGNED
from els_stream.kafka.topics import TOPICS, Created, Different, Present, TopicPlan, delete_topics, ensure_topics
from tests.support.cli import els
from tests.support.kafka_clients import admin_client
from tests.support.waiting import until


async def test_topics_are_created_once_and_then_present(addresses: Addresses, database: str, topic_prefix: str) -> None:
    names = [topic_prefix + plan.topic for plan in TOPICS]

    named = {"ELS_BROKER_URL": addresses.broker, "ELS_DATABASE_URL": database, "ELS_TOPIC_PREFIX": topic_prefix}

    assert await ensure_topics(addresses.broker, topic_prefix) == [Created(name) for name in names]
    assert await ensure_topics(addresses.broker, topic_prefix) == [Present(name) for name in names]
    printed = await els(named, "topics", "--json")
    assert [json.loads(line) for line in printed.stdout.splitlines()] == [
        {"state": "present", "topic": name} for name in names
    ]

    await delete_topics(addresses.broker, names)


async def test_a_topic_with_other_settings_is_reported_and_not_changed(
    addresses: Addresses, kafka_topics: dict[str, str], topic_prefix: str
) -> None:
    plan = TopicPlan(DEAD_LETTER, retention_days=1, max_bytes=16 * 1024 * 1024)

    for _ in range(2):
        (state,) = await ensure_topics(addresses.broker, topic_prefix, partitions=8, topics=[plan])
        assert isinstance(state, Different)
        assert state.topic == kafka_topics[DEAD_LETTER]
        assert state.differences == ("partitions: 4, not 8", "retention.ms: 1209600000, not 86400000")
        (harm,) = state.harms
        assert harm.startswith("partitions: fewer workers")


async def test_the_command_fails_for_a_difference_that_does_harm_until_it_is_mended(
    addresses: Addresses, database: str, kafka_topics: dict[str, str], topic_prefix: str
) -> None:
    assigned, dead_letters = kafka_topics[SLOT_ASSIGNED], kafka_topics[DEAD_LETTER]
    named = {"ELS_BROKER_URL": addresses.broker, "ELS_DATABASE_URL": database, "ELS_TOPIC_PREFIX": topic_prefix}
    intended = {plan.topic: plan.config(1) for plan in TOPICS}

    await set_config(addresses.broker, assigned, intended[SLOT_ASSIGNED] | {"max.message.bytes": "1048588"})
    await set_config(addresses.broker, dead_letters, intended[DEAD_LETTER] | {"retention.ms": "-1"})
    await until(lambda: exits_with(named, 1))
    printed = await els(named, "topics")
    await set_config(addresses.broker, assigned, intended[SLOT_ASSIGNED] | {"retention.ms": "-1"})
    await set_config(addresses.broker, dead_letters, intended[DEAD_LETTER])
    await until(lambda: exits_with(named, 0))

    assert f"--entity-name {assigned} --add-config max.message.bytes=16777216" in printed.stdout
    assert f"--entity-name {dead_letters} --add-config retention.ms=1209600000" in printed.stdout


async def exits_with(environment: dict[str, str], code: int) -> bool:
    return (await els(environment, "topics")).exit_code == code


async def set_config(broker: str, name: str, config: dict[str, str]) -> None:
    async with admin_client(broker) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, config)])


async def test_a_topic_that_the_broker_refuses_is_in_the_error(addresses: Addresses) -> None:
    with pytest.raises(ServersUnavailable, match="refuses to create what a name!"):
        await ensure_topics(addresses.broker, topics=[TopicPlan("what a name!", retention_days=1, max_bytes=1024)])


async def test_topics_are_present_after_the_broker_was_killed(
    addresses: Addresses, kafka_topics: dict[str, str], topic_prefix: str, servers: EmbeddedServers
) -> None:
    await servers.kafka.kill()
    with pytest.raises(ServersUnavailable, match="no connection to the broker"):
        await ensure_topics(addresses.broker, topic_prefix)

    await servers.kafka.start()

    states = await ensure_topics(addresses.broker, topic_prefix)
    assert Present(kafka_topics[BATCH_REGISTERED]) in states
    assert {type(state) for state in states} == {Present}

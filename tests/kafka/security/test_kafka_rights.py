"""Rights that a test gives or withdraws apply once it goes on."""

from __future__ import annotations

from typing import Final

import pytest
from aiokafka.admin import NewTopic

from els_stream.errors import ServersUnavailable
from els_stream.kafka.admin import admin_client
from els_stream.kafka.topics import delete_topics, partition_counts
from tests.support.kafka_rights import Grant, Kind, Right, allow, withdraw
from tests.support.secure_kafka import USER, SecureKafka

LOGS: Final = 200  # take the broker some tenths of a second


async def test_rights_apply_once_they_have_been_given_or_withdrawn(secure: SecureKafka, topic_prefix: str) -> None:
    """The broker creates the logs of new topics first, and its controller does not wait for that."""
    topics = [f"{topic_prefix}{number}" for number in range(2)]
    grant = Grant(USER, Right.DESCRIBE, Kind.TOPIC, topics[0])

    async with admin_client(secure.admin) as admin:
        await admin.create_topics([NewTopic(topics[0], LOGS, 1)])
        await allow(secure.admin, grant)
        given = await partition_counts(secure.login(), topics[:1])
        await admin.create_topics([NewTopic(topics[1], LOGS, 1)])
        await withdraw(secure.admin, grant)
        with pytest.raises(ServersUnavailable, match="no right on the topic"):
            await partition_counts(secure.login(), topics[:1])

    await delete_topics(secure.admin, topics)
    assert given == {topics[0]: LOGS}

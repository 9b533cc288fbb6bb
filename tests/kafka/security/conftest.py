from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from els_stream.events.topics import DEAD_LETTER, INPUT_TOPICS, OUTPUT_TOPICS
from els_stream.kafka.topics import TOPICS, delete_topics, ensure_topics
from tests.support.kafka_rights import Grant, Kind, Right, allow, withdraw
from tests.support.secure_kafka import USER, SecureKafka, secure_kafka


@pytest.fixture(scope="package")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    """One broker for all tests of this folder that run in this process."""
    with secure_kafka(tmp_path_factory.mktemp("secure-kafka")) as started:
        yield started


@pytest.fixture
def worker_rights(topic_prefix: str) -> list[Grant]:
    """All rights of USER as a worker, and no other."""
    return [
        *(Grant(USER, Right.READ, Kind.TOPIC, topic_prefix + topic) for topic in INPUT_TOPICS),
        *(Grant(USER, Right.WRITE, Kind.TOPIC, topic_prefix + topic) for topic in (*OUTPUT_TOPICS, DEAD_LETTER)),
        Grant(USER, Right.READ, Kind.GROUP, f"{topic_prefix}group"),
    ]


@pytest.fixture
async def secure_topics(secure: SecureKafka, topic_prefix: str) -> AsyncIterator[str]:
    """The prefix of topics that exist; USER has no right on them."""
    await ensure_topics(secure.admin, topic_prefix)
    yield topic_prefix
    await delete_topics(secure.admin, [topic_prefix + plan.topic for plan in TOPICS])


@pytest.fixture
async def worker_topics(secure: SecureKafka, secure_topics: str, worker_rights: list[Grant]) -> AsyncIterator[str]:
    """The prefix of topics on which USER has the rights of a worker."""
    await allow(secure.admin, *worker_rights)
    yield secure_topics
    await withdraw(secure.admin, *worker_rights)

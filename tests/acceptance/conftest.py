from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from els_stream.embedded.servers import Addresses
from els_stream.kafka.topics import TOPICS, delete_topics
from tests.support.demo_environment import DemoEnvironment


@pytest.fixture
async def env(addresses: Addresses, database: str, topic_prefix: str, tmp_path: Path) -> AsyncIterator[DemoEnvironment]:
    """A database, topics and a consumer group on the servers of this process."""
    async with DemoEnvironment(addresses.broker, database, topic_prefix, tmp_path) as env:
        yield env
    await delete_topics(addresses.broker, [topic_prefix + plan.topic for plan in TOPICS])

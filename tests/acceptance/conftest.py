from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from els_stream.embedded.servers import Addresses
from els_stream.kafka.topics import TOPICS, delete_topics
from tests.support.demo_environment import DemoEnvironment


@pytest.fixture
async def scene(
    addresses: Addresses, database: str, topic_prefix: str, tmp_path: Path
) -> AsyncIterator[DemoEnvironment]:
    """On the run's servers, for this test alone."""
    async with DemoEnvironment(addresses.broker, database, topic_prefix, tmp_path) as scene:
        yield scene
    await delete_topics(addresses.broker, [topic_prefix + plan.topic for plan in TOPICS])

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses
from tests.support.consumer_testbed import CREATE, ConsumerTestbed


@pytest.fixture(params=[1, 2], ids=["1 in flight", "2 in flight"])
def in_flight(request: pytest.FixtureRequest) -> int:
    value: int = request.param
    return value


@pytest.fixture
async def bed(
    addresses: Addresses, database: str, engine: AsyncEngine, tmp_path: Path, topic_prefix: str
) -> AsyncIterator[ConsumerTestbed]:
    """With one topic, `alpha`, and two micro-batches in flight; every worker it started is ended."""
    async with engine.begin() as conn:
        await conn.execute(CREATE)
    bed = ConsumerTestbed(addresses.broker, database, engine, tmp_path, topic_prefix)
    await bed.make_topics("alpha")
    yield bed
    await bed.end()

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses
from tests.support.consumer_testbed import CREATE_EFFECTS, ConsumerTestbed


# One in flight is the simple case of the default of two; a run of `test_chaos` has one too.
@pytest.fixture(params=[pytest.param(1, marks=pytest.mark.long), 2], ids=["1 in flight", "2 in flight"])
def in_flight(request: pytest.FixtureRequest) -> int:
    value: int = request.param
    return value


@pytest.fixture
async def testbed(
    addresses: Addresses, database: str, engine: AsyncEngine, tmp_path: Path, topic_prefix: str
) -> AsyncIterator[ConsumerTestbed]:
    """A test bed with the topic `alpha`; its workers are ended after the test."""
    async with engine.begin() as conn:
        await conn.execute(CREATE_EFFECTS)
    testbed = ConsumerTestbed(addresses.broker, database, engine, tmp_path, topic_prefix)
    await testbed.make_topics("alpha")
    yield testbed
    await testbed.end()

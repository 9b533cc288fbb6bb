from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.strategies import Strategy
from tests.postgres.invariants import violations
from tests.postgres.school import School, handlers_by_topic

# The suites that every way to claim a slot must pass.
CLAIMING = {"test_claims", "test_failing", "test_parking"}
WAYS = [(strategy, locks) for strategy in Strategy for locks in (False, True)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "way_to_claim" in metafunc.fixturenames:
        every = metafunc.module.__name__.rpartition(".")[2] in CLAIMING
        ways = WAYS if every else [(Strategy.OPTION_B, False)]
        ids = [f"{strategy}, advisory locks" if locks else strategy.value for strategy, locks in ways]
        metafunc.parametrize("way_to_claim", ways, ids=ids if every else [""])


@pytest.fixture
async def school(engine: AsyncEngine, way_to_claim: tuple[Strategy, bool]) -> AsyncIterator[School]:
    """Whatever a test did with it, the invariants hold when it is over."""
    strategy, advisory_locks = way_to_claim
    yield School(engine=engine, handlers=handlers_by_topic(strategy=strategy, advisory_locks=advisory_locks))
    async with engine.connect() as conn:
        assert await violations(conn) == []

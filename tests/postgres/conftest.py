from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.strategies import Strategy
from tests.postgres.invariants import violations
from tests.postgres.school import School, handlers_by_topic

# The suites that every way to claim a slot must pass, the first one on a schema of either making.
CLAIMS = "test_claims"
WAYS = [(strategy, locks) for strategy in Strategy for locks in (False, True)]
CLAIMING = {
    CLAIMS: WAYS,
    "test_failing": WAYS,
    "test_parking": WAYS,
    "test_instances": WAYS,
    "test_concurrent_repeats": WAYS,
    "test_hot_batch": [(strategy, False) for strategy in Strategy],
}
UPGRADE, CREATE_ALL = "upgrade head", "create_all"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    suite = metafunc.module.__name__.rpartition(".")[2]
    if "way_to_claim" in metafunc.fixturenames:
        ways = CLAIMING.get(suite, [(Strategy.OPTION_B, False)])
        ids = [f"{strategy}, advisory locks" if locks else strategy.value for strategy, locks in ways]
        metafunc.parametrize("way_to_claim", ways, ids=ids if suite in CLAIMING else [""])
    if suite == CLAIMS and "schema_by" in metafunc.fixturenames:
        metafunc.parametrize("schema_by", [UPGRADE, CREATE_ALL])


@pytest.fixture
def schema_by() -> str:
    return UPGRADE


@pytest.fixture
def template(template: str, schema_by: str, request: pytest.FixtureRequest) -> str:
    """The database that the test's own is copied from."""
    return template if schema_by == UPGRADE else str(request.getfixturevalue("created_template"))


@pytest.fixture
async def school(engine: AsyncEngine, way_to_claim: tuple[Strategy, bool]) -> AsyncIterator[School]:
    """Whatever a test did with it, the invariants hold when it is over."""
    strategy, advisory_locks = way_to_claim
    yield School(engine=engine, handlers=handlers_by_topic(strategy=strategy, advisory_locks=advisory_locks))
    async with engine.connect() as conn:
        assert await violations(conn) == []

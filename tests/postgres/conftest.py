from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from els_stream.domain.claim_strategy import Strategy
from els_stream.embedded.databases import create_database, drop_database
from els_stream.embedded.servers import Addresses
from tables import Base
from tests.support.batch_harness import BatchHarness, handlers_by_topic
from tests.support.invariants import violations

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
# So many tests that a copy of the template for each would cost more than they do: they have one for all, and empty it.
SHARING = {CLAIMS, "test_failing", "test_parking"}
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


@pytest.fixture(scope="session")
def shared_databases(addresses: Addresses) -> Iterator[dict[str, str]]:
    """The addresses of those that tests share, by their templates; made when they are first wanted."""
    made: dict[str, str] = {}
    yield made
    for url in made.values():
        asyncio.run(drop_database(addresses.database_url, str(make_url(url).database)))


@pytest.fixture
async def database(
    addresses: Addresses, template: str, shared_databases: dict[str, str], request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    """The address of an empty database for this test alone, or for it first."""
    shared = shared_databases if request.path.stem in SHARING else {}
    if template not in shared:
        shared[template] = await create_database(addresses.database_url, f"test_{uuid.uuid4().hex[:12]}", template)
    yield shared[template]
    if shared is shared_databases:
        await empty(shared[template])
    else:
        await drop_database(addresses.database_url, str(make_url(shared[template]).database))


async def empty(url: str) -> None:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    async with engine.begin() as conn:
        for table in reversed(Base.metadata.sorted_tables):
            await conn.execute(table.delete())
    await engine.dispose()


@pytest.fixture
async def harness(engine: AsyncEngine, way_to_claim: tuple[Strategy, bool]) -> AsyncIterator[BatchHarness]:
    """Whatever a test did with it, the invariants hold when it is over."""
    strategy, advisory_locks = way_to_claim
    yield BatchHarness(engine=engine, handlers=handlers_by_topic(strategy=strategy, advisory_locks=advisory_locks))
    async with engine.connect() as conn:
        assert await violations(conn) == []

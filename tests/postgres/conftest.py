from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

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

ClaimMode = tuple[Strategy, bool]

ALL_MODES = [(strategy, locks) for strategy in Strategy for locks in (False, True)]
# The files whose tests run with several claim strategies, with and without advisory locks. All others run with one.
CLAIM_MODES: dict[str, list[ClaimMode]] = {
    "queries/test_claims.py": ALL_MODES,
    "handlers/test_failures.py": ALL_MODES,
    "handlers/test_pending_events.py": ALL_MODES,
    "handlers/test_instances.py": ALL_MODES,
    "consumer/test_concurrent_repeats.py": ALL_MODES,
    "handlers/test_hot_batch.py": [(strategy, False) for strategy in Strategy],
}
# Their tests run on schemas that the migrations made and on those that `create_all` made.
BOTH_SCHEMAS = {"queries/test_claims.py"}
# Their tests are short and many, so they share a database and empty it: a copy of the template would take longer.
SHARED_DATABASE = {"queries/test_claims.py", "handlers/test_failures.py", "handlers/test_pending_events.py"}
UPGRADE, CREATE_ALL = "upgrade head", "create_all"

FOLDER = Path(__file__).parent
if missing := [name for name in {*CLAIM_MODES, *BOTH_SCHEMAS, *SHARED_DATABASE} if not (FOLDER / name).exists()]:
    raise FileNotFoundError(f"no such files: {missing}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    name = _name(Path(str(metafunc.module.__file__)))
    if "claim_mode" in metafunc.fixturenames:
        modes = CLAIM_MODES.get(name, [(Strategy.OPTION_B, False)])
        ids = [f"{strategy}, advisory locks" if locks else strategy.value for strategy, locks in modes]
        metafunc.parametrize("claim_mode", modes, ids=ids if name in CLAIM_MODES else [""])
    if name in BOTH_SCHEMAS and "schema_by" in metafunc.fixturenames:
        metafunc.parametrize("schema_by", [UPGRADE, CREATE_ALL])


def _name(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


@pytest.fixture
def schema_by() -> str:
    return UPGRADE


@pytest.fixture
def template(template: str, schema_by: str, request: pytest.FixtureRequest) -> str:
    """The name of the database of which the test gets a copy."""
    return template if schema_by == UPGRADE else str(request.getfixturevalue("created_template"))


@pytest.fixture(scope="session")
def shared_databases(addresses: Addresses) -> Iterator[dict[str, str]]:
    """URLs of the databases that tests share, by template; tests add them when they need them."""
    urls: dict[str, str] = {}
    yield urls
    for url in urls.values():
        asyncio.run(drop_database(addresses.database_url, str(make_url(url).database)))


@pytest.fixture
async def database(
    addresses: Addresses, template: str, shared_databases: dict[str, str], request: pytest.FixtureRequest
) -> AsyncIterator[str]:
    """The URL of an empty database, which some files share between their tests, one test at a time."""
    shared = shared_databases if _name(request.path) in SHARED_DATABASE else {}
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
async def harness(engine: AsyncEngine, claim_mode: ClaimMode) -> AsyncIterator[BatchHarness]:
    """Handlers on the test's database; after the test the invariants are checked."""
    strategy, advisory_locks = claim_mode
    yield BatchHarness(engine=engine, handlers=handlers_by_topic(strategy=strategy, advisory_locks=advisory_locks))
    async with engine.connect() as conn:
        assert await violations(conn) == []

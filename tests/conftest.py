"""Fixtures of all tests: a PostgreSQL and a Kafka per process, a database and topic names per test.

The servers are those of `els up`, in a folder of their own, unless the settings name others: embedded ones, or with
ELS_SERVERS=containers those of `tests.support.shared_servers`. If one does not start, the tests fail: nothing is
skipped.

`make test` runs the tests in several processes (pytest-xdist). Each process starts its own servers when the first of
its tests needs them, so tests that kill servers disturb no other process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest
import structlog
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from xdist.remote import Producer

from els_stream.config.settings import Settings
from els_stream.db import migration
from els_stream.db.engine import Limits, create_engine
from els_stream.embedded.databases import create_database, drop_database
from els_stream.embedded.servers import Addresses, EmbeddedServers
from els_stream.embedded.state import Kind
from els_stream.kafka.topics import TOPICS, delete_topics, ensure_topics
from tables import Base
from tests.support import parallel, shared_servers
from tests.support.shared_servers import SharedServers

TESTS = Path(__file__).parent
NEED_SERVERS = {"acceptance", "benchmarks", "browser", "kafka", "postgres"}
POOL_SIZE: Final = 32

# The names whose levels `configure_logging` sets, besides the root.
LOGGERS: Final = (
    "aiokafka",
    "aiokafka.conn",
    "alembic",
    "asyncio",
    "els_stream.db.engine",
    "faust",
    "mode",
    "sqlalchemy",
)

parallel.cache_bytecode()
parallel.choose_own_ports()
# An example that takes long says nothing while others use the machine.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(TESTS) and item.path.relative_to(TESTS).parts[0] in NEED_SERVERS:
            item.add_marker(pytest.mark.integration)
    if parallel.is_worker(config):
        parallel.sort_longest_first(items)


def pytest_configure(config: pytest.Config) -> None:
    if not parallel.is_worker(config):
        shared_servers.exit_without_engine()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if shared_servers.CONTAINERS and "server_kind" in metafunc.fixturenames:
        kind = shared_servers.kind_of(metafunc.fixturenames)
        metafunc.parametrize("server_kind", [kind], indirect=True, scope="session")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return parallel.number_of_processes()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: parallel.Node) -> None:
    parallel.assign_state_folder(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> parallel.Scheduling:
    return parallel.Scheduling(config, log)


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    """Undo the logging configuration of what ran in this process: a command, the application."""
    root, last_resort = logging.getLogger(), logging.lastResort
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.lastResort = last_resort
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture(scope="session")
def servers_of_process(request: pytest.FixtureRequest) -> Iterator[SharedServers]:
    """The servers of this process. SIGTERM ends the run as Ctrl-C does, so that neither leaves servers."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with parallel.state_folder(request.config) as folder:
        shared = SharedServers(folder)
        try:
            yield shared
        finally:
            shared.stop()


@pytest.fixture(scope="session")
def server_kind(request: pytest.FixtureRequest) -> Kind:
    """Embedded servers or containers: see `shared_servers.kind_of`."""
    kind: Kind = getattr(request, "param", "embedded")
    return kind


@pytest.fixture(scope="session")
def addresses(servers_of_process: SharedServers, server_kind: Kind) -> Addresses:
    return servers_of_process.addresses(server_kind)


@pytest.fixture(scope="session")
def server_settings(servers_of_process: SharedServers) -> Settings:
    """Settings of the embedded servers, for tests that read or change the servers' files."""
    servers_of_process.addresses("embedded")
    return servers_of_process.settings("embedded")


@pytest.fixture
async def servers(server_settings: Settings) -> AsyncIterator[EmbeddedServers]:
    """The servers of this process, for tests that kill, stop or pause them; they are started again after the test."""
    if server_settings.broker_url is not None:
        pytest.fail("this test kills servers: run it without ELS_BROKER_URL and ELS_DATABASE_URL")
    embedded = EmbeddedServers(server_settings.state_dir, fsync=False)
    yield embedded
    embedded.postgres.resume()
    embedded.kafka.resume()
    await embedded.start()


@pytest.fixture(scope="session")
def template(addresses: Addresses) -> Iterator[str]:
    """The name of a database that the migrations made, once per process."""
    with _template(addresses.database_url, migration.upgrade) as name:
        yield name


@pytest.fixture(scope="session")
def created_template(addresses: Addresses) -> Iterator[str]:
    """The name of a database that `Base.metadata.create_all` made."""
    with _template(addresses.database_url, _create_all) as name:
        yield name


@pytest.fixture
async def database(addresses: Addresses, template: str) -> AsyncIterator[str]:
    """The URL of a new database with all migrations."""
    async with _database(addresses, template) as url:
        yield url


@pytest.fixture
async def empty_database(addresses: Addresses) -> AsyncIterator[str]:
    """The URL of a new database without any migration."""
    async with _database(addresses) as url:
        yield url


@pytest.fixture
async def another_empty_database(addresses: Addresses) -> AsyncIterator[str]:
    async with _database(addresses) as url:
        yield url


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    """An engine as a worker has it, with a larger pool."""
    url = make_url(database).set(drivername="postgresql+asyncpg")
    engine = create_engine(url.render_as_string(hide_password=False), Limits(), pool_size=POOL_SIZE, name="els test")
    yield engine
    await engine.dispose()


@pytest.fixture
def topic_prefix() -> str:
    return f"{_unused_name('test')}."


@pytest.fixture
async def kafka_topics(addresses: Addresses, topic_prefix: str) -> AsyncIterator[dict[str, str]]:
    """All topics of the service, created for this test: the name with prefix by the name without."""
    names = {plan.topic: topic_prefix + plan.topic for plan in TOPICS}
    await ensure_topics(addresses.broker, topic_prefix)
    yield names
    await delete_topics(addresses.broker, list(names.values()))


@contextlib.asynccontextmanager
async def _database(addresses: Addresses, template: str | None = None) -> AsyncIterator[str]:
    name = _unused_name("test")
    yield await create_database(addresses.database_url, name, template)
    await drop_database(addresses.database_url, name)


@contextlib.contextmanager
def _template(server: str, make: Callable[[str], Awaitable[None]]) -> Iterator[str]:
    async def create(name: str) -> None:
        await make(await create_database(server, name))

    name = _unused_name("template")
    asyncio.run(create(name))
    yield name
    asyncio.run(drop_database(server, name))


async def _create_all(url: str) -> None:
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), poolclass=NullPool)
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    await engine.dispose()


def _unused_name(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex[:12]}"

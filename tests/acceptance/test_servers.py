"""Each test has its own servers in its own state folder."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from els_stream.config.settings import Settings
from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.embedded.processes import ProcessId, wait_until
from els_stream.embedded.servers import EmbeddedServers, addresses, down, up
from els_stream.errors import ServersUnavailable
from els_stream.kafka.topics import Created, Present, ensure_topics
from tests.support.paths import reachable_folder

UP = """
import asyncio
from els_stream.embedded.servers import up
from els_stream.config.settings import Settings

print(asyncio.run(up(Settings())).broker)
"""
FOREGROUND = """
import asyncio
from els_stream.embedded.servers import running
from els_stream.config.settings import Settings

async def main():
    async with running(Settings()) as found:
        print(found.broker, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
import asyncpg
from els_stream.embedded.unprivileged import reachable
from els_stream.embedded.postgres import EmbeddedPostgres

async def main():
    postgres = EmbeddedPostgres(Path(sys.argv[1]))
    await postgres.start()
    connection = await asyncpg.connect(postgres.url)
    print(await connection.fetchval("SELECT 'hello from ' || current_database()"))
    await connection.close()
    await postgres.stop()

# Below a folder that only root may enter, `nobody` cannot read the binaries: then run as root.
if os.geteuid() == 0 and reachable(Path(sys.prefix)):
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
asyncio.run(main())
"""


@pytest.fixture
async def settings() -> AsyncIterator[Settings]:
    with reachable_folder() as folder:
        settings = Settings(state_dir=folder / "state", broker_url=None, database_url=None, servers="embedded")
        yield settings
        await down(settings, remove_data=True)


def processes(settings: Settings) -> list[ProcessId]:
    embedded = EmbeddedServers(settings.state_dir)
    found = [embedded.postgres.server.process, embedded.kafka.server.process]
    return [process for process in found if process is not None]


async def run_python(script: str, *arguments: str, settings: Settings, **variables: str) -> asyncio.subprocess.Process:
    unnamed = {name: value for name, value in os.environ.items() if not name.startswith("ELS_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        *arguments,
        env={**unnamed, "ELS_STATE_DIR": str(settings.state_dir), **variables},
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )


async def output(process: asyncio.subprocess.Process) -> str:
    text, _ = await process.communicate()
    return text.decode().strip()


async def execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_servers_answer_until_down_and_leave_no_process(settings: Settings) -> None:
    found = await up(settings)

    assert addresses(settings) == found == await up(settings)
    assert await execute(found.database_url, "SELECT current_setting('fsync')") == "on"
    assert {type(state) for state in await ensure_topics(found.broker)} == {Created}
    assert {type(state) for state in await ensure_topics(found.broker)} == {Present}

    started = processes(settings)
    await down(settings)

    assert addresses(settings) is None
    assert [process.alive for process in started] == [False, False]


async def test_killed_servers_are_started_again_with_their_data(settings: Settings) -> None:
    before = await up(settings)
    await execute(before.database_url, "CREATE TABLE otters (name text)")
    await ensure_topics(before.broker)
    started = processes(settings)
    for process in started:
        process.signal(signal.SIGKILL)
    await wait_until(lambda: not any(process.alive for process in started))
    assert addresses(settings) is None

    after = await up(settings)

    assert after == before
    assert await execute(after.database_url, "SELECT count(*) FROM otters") == 0
    assert {type(state) for state in await ensure_topics(after.broker)} == {Present}


async def test_up_restarts_both_servers_if_one_has_ended(settings: Settings) -> None:
    before = await up(settings)
    embedded = EmbeddedServers(settings.state_dir)
    await embedded.postgres.kill()
    kafka = embedded.kafka.server.process
    assert kafka is not None
    assert addresses(settings) is None

    assert await up(settings) == before

    assert not kafka.alive
    assert len(processes(settings)) == 2


async def test_two_ups_at_once_start_one_pair_of_servers(settings: Settings) -> None:
    both = [await run_python(UP, settings=settings) for _ in range(2)]

    first, second = [await output(process) for process in both]

    found = addresses(settings)
    assert found is not None
    assert first == second == found.broker


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_a_foreground_command_stops_its_servers_when_it_ends(
    settings: Settings, number: signal.Signals, code: int
) -> None:
    owner = await run_python(FOREGROUND, settings=settings)
    assert owner.stdout is not None
    await owner.stdout.readline()
    started = processes(settings)
    assert len(started) == 2

    owner.send_signal(number)
    await output(owner)

    assert owner.returncode == code
    assert [process.alive for process in started] == [False, False]


async def test_an_interrupted_start_leaves_no_process(settings: Settings) -> None:
    owner = await run_python(FOREGROUND, settings=settings)
    await wait_until(lambda: len(processes(settings)) == 2)
    started = processes(settings)

    owner.send_signal(signal.SIGTERM)
    await output(owner)

    assert [process.alive for process in started] == [False, False]
    assert addresses(settings) is None


async def test_a_server_that_fails_to_start_shows_its_log_and_stops_the_other(settings: Settings) -> None:
    await up(settings)
    await down(settings)
    (settings.state_dir / "postgres" / "data" / "postgresql.conf").write_text("wombats = 7\n")

    with pytest.raises(ServersUnavailable, match='unrecognized configuration parameter "wombats"'):
        await up(settings)

    assert processes(settings) == []


async def test_postgres_runs_for_an_account_other_than_root() -> None:
    with reachable_folder() as folder:
        settings = Settings(state_dir=folder / "state")
        own = folder / "own"
        own.mkdir()
        own.chmod(0o777)
        process = await run_python(AS_NOBODY, str(own), settings=settings, HOME=str(own))

        assert await output(process) == "hello from els"


async def test_postgres_runs_below_a_folder_that_others_cannot_enter() -> None:
    """The permissions of the folder stay as they are."""
    with reachable_folder() as folder:
        folder.chmod(0o700)
        postgres = EmbeddedPostgres(folder)
        await postgres.start()
        assert await execute(postgres.url, "SELECT 1") == 1
        await postgres.stop()

        assert folder.stat().st_mode & 0o777 == 0o700
        data = (folder / "postgres").resolve()
        postgres.remove_data()
        assert not data.exists()


async def test_a_database_is_copied_from_a_template(settings: Settings) -> None:
    await up(settings)
    postgres = EmbeddedServers(settings.state_dir).postgres
    template = await postgres.create_database("burrow")
    await execute(template, "CREATE TABLE rabbits AS SELECT generate_series(1, 3)")

    copy = await postgres.create_database("warren", template="burrow")

    assert await execute(copy, "SELECT count(*) FROM rabbits") == 3
    await postgres.drop_database("warren")
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await execute(copy, "SELECT 1")

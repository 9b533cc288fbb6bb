"""The state folder: records of running servers and workers, and a lock.

Each record contains the pid and start time of a process, so that records of ended processes are recognized.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from els_stream.embedded.processes import ProcessId, this_process, wait_until
from els_stream.errors import ServersUnavailable

LOCK_TIMEOUT_SECONDS = 180

Kind = Literal["embedded", "containers"]


@dataclass(frozen=True, slots=True)
class RunningServers:
    """The servers that were started here; `containers` are ids of the Docker engine, `standby` that of PostgreSQL."""

    kind: Kind
    broker: str
    database_url: str
    containers: tuple[str, ...] = ()
    brokers: int = 1
    standby: bool = False


class StateFolder:
    """The folder with the records; a missing folder has no records."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._servers = self.path / "servers.json"
        self._workers = self.path / "workers"

    def create(self) -> None:
        """Create the folder for its owner only; below root others may pass, so that PostgreSQL reaches its data."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self.path.chmod(0o711)

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Lock the folder for one `up` or `down` at a time; the lock ends with the process."""
        with (self.path / "lock").open("w") as lock:
            try:
                async with asyncio.timeout(LOCK_TIMEOUT_SECONDS):
                    await wait_until(lambda: _taken(lock.fileno()))
            except TimeoutError as late:
                seconds = LOCK_TIMEOUT_SECONDS
                raise ServersUnavailable(f"another command has locked {self.path} for {seconds} s") from late
            yield

    def running(self) -> RunningServers | None:
        """Return the last record, whether or not the servers still run."""
        try:
            fields = json.loads(self._servers.read_text())
            return RunningServers(**{**fields, "containers": tuple(fields["containers"])})
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def record(self, running: RunningServers) -> None:
        _write(self._servers, asdict(running))

    def forget(self) -> None:
        self._servers.unlink(missing_ok=True)

    def register_worker(self, web: str) -> None:
        """Record the web address of this process."""
        self.create()
        self._workers.mkdir(mode=0o700, exist_ok=True)
        _write(self._workers / f"{os.getpid()}.json", {"web": web, **asdict(this_process())})

    def first_worker(self) -> str | None:
        """Return the web address of the running worker that registered first."""
        records = [(record.stat().st_mtime_ns, record) for record in self._workers.glob("*.json")]
        for _, record in sorted(records):
            fields = json.loads(record.read_text())
            if ProcessId(fields["pid"], fields["started"]).alive:
                return str(fields["web"])
        return None


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(path: Path, fields: dict[str, object]) -> None:
    """Replace the file atomically; only its owner may read it, as it contains a password."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(fields, indent=2) + "\n")
    draft.replace(path)

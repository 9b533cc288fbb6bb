"""The state folder: what runs, where it answers, and one owner at a time.

Every record names a process with its start time, so what a killed run left is told from what runs.
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
    """Which servers were started here; `containers` holds their ids on the Docker engine."""

    kind: Kind
    broker: str
    database_url: str
    containers: tuple[str, ...] = ()


class StateFolder:
    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._servers = self.path / "servers.json"
        self._workers = self.path / "workers"

    def create(self) -> None:
        """For its owner only; root leaves others the way through, or PostgreSQL could not reach its data."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() == 0:
            self.path.chmod(0o711)

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """One `up` or `down` at a time; the lock goes with its process, however that ends."""
        with (self.path / "lock").open("w") as lock:
            try:
                async with asyncio.timeout(LOCK_TIMEOUT_SECONDS):
                    await wait_until(lambda: _taken(lock.fileno()))
            except TimeoutError as late:
                raise ServersUnavailable(f"another command has held {self.path} for {LOCK_TIMEOUT_SECONDS} s") from late
            yield

    def running(self) -> RunningServers | None:
        """What was recorded last, whether or not it still runs."""
        try:
            fields = json.loads(self._servers.read_text())
            return RunningServers(fields["kind"], fields["broker"], fields["database_url"], tuple(fields["containers"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def record(self, running: RunningServers) -> None:
        _write(self._servers, asdict(running))

    def forget(self) -> None:
        self._servers.unlink(missing_ok=True)

    def register_worker(self, web: str) -> None:
        self.create()
        self._workers.mkdir(mode=0o700, exist_ok=True)
        _write(self._workers / f"{os.getpid()}.json", {"web": web, **asdict(this_process())})

    def unregister_worker(self) -> None:
        (self._workers / f"{os.getpid()}.json").unlink(missing_ok=True)

    def first_worker(self) -> str | None:
        """The web address of the worker that registered first among those alive."""
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
    """Readers see the old record or the new one; nobody else sees the password in it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.touch(mode=0o600)
    draft.write_text(json.dumps(fields, indent=2) + "\n")
    draft.replace(path)

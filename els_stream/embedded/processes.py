"""Server processes that outlive whoever started them, known by pid and start time.

A pid alone says nothing after a crash: another program may have it by now. So every record on disk holds both, and
nothing is ever signalled unless both still agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pwd
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from els_stream.errors import ServersUnavailable

T = TypeVar("T")

POLL_INTERVAL_SECONDS = 0.02
TAIL_LINES = 15
KILL_TIMEOUT_SECONDS = 10
# The shell ends at once, so the server is nobody's child: it outlives its starter and leaves no zombie with it.
DETACHED = '"$@" >&2 & echo $!'
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessId:
    pid: int
    started: str

    @property
    def alive(self) -> bool:
        return started_at(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Signals nothing when the process has ended, whoever has its pid now."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def this_process() -> ProcessId:
    return ProcessId(os.getpid(), started_at(os.getpid()) or "")


def started_at(pid: int) -> str | None:
    """None once the process has ended, reaped or not: a container's first process may never reap what it inherits."""
    if not PROC.exists():
        return _started_somehow(pid)
    try:
        state, *fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" and not _threads_left(pid) else fields[18]


def _threads_left(pid: int) -> bool:
    """A process whose first thread has ended keeps its ports and files until the last one has."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return len(list((PROC / str(pid) / "task").iterdir())) > 1
    return False


def _started_somehow(pid: int) -> str | None:
    """Without /proc the pid alone has to do."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "another account's"
    return "ours"


def children(pid: int) -> Iterator[ProcessId]:
    for stat in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            _, parent, *fields = stat.read_text().rpartition(")")[2].split()
            if int(parent) == pid:
                yield ProcessId(int(stat.parent.name), fields[17])


async def wait_until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(POLL_INTERVAL_SECONDS)


async def shielded(work: Coroutine[None, None, T]) -> T:
    """A cancellation waits until the work is done: between a server's start and its record nothing may come."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        task.exception()
        raise asyncio.CancelledError
    return task.result()


class ServerProcess:
    """One server's process, its record and its log in the state folder: any process may take it up from there."""

    def __init__(self, name: str, state_dir: Path) -> None:
        self.name = name
        self.log = state_dir / f"{name}.log"
        self._record = state_dir / f"{name}.pid.json"

    @property
    def process(self) -> ProcessId | None:
        try:
            recorded = ProcessId(**json.loads(self._record.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        return recorded if recorded.alive else None

    async def spawn(self, *command: str, env: dict[str, str], account: pwd.struct_passwd | None = None) -> int:
        """Starts the command detached; its output goes to the end of the log, whose old length is returned."""
        return await shielded(self._spawn(*command, env=env, account=account))

    async def _spawn(self, *command: str, env: dict[str, str], account: pwd.struct_passwd | None) -> int:
        with self.log.open("ab") as log:
            written = log.tell()
            shell = await start("/bin/sh", "-c", DETACHED, "sh", *command, env=env, log=log.fileno(), account=account)
            output, _ = await shell.communicate()
        pid = int(output)
        self._record.write_text(json.dumps(asdict(ProcessId(pid, started_at(pid) or ""))))
        return written

    async def until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Raises with the tail of the log when the process ends or time passes before it is ready."""
        try:
            async with asyncio.timeout(seconds):
                await wait_until(lambda: ready() or self.process is None)
        except TimeoutError as late:
            raise ServersUnavailable(f"{self.name} is not ready after {seconds:.0f} s:\n{self.tail()}") from late
        if self.process is None:
            raise ServersUnavailable(f"{self.name} ended while it started:\n{self.tail()}")

    async def end(self, number: signal.Signals, seconds: float) -> None:
        """Signals and waits until the process has ended; kills what does not end in time."""
        running = self.process
        if running is None:
            return
        self.signal_all(signal.SIGCONT)
        running.signal(number)
        try:
            async with asyncio.timeout(seconds):
                await wait_until(lambda: not running.alive)
        except TimeoutError:
            running.signal(signal.SIGKILL)
            await wait_until(lambda: not running.alive)

    @contextlib.asynccontextmanager
    async def starting(self) -> AsyncIterator[None]:
        """A start that fails or is cancelled leaves no process."""
        try:
            yield
        except BaseException:
            await shielded(self.end(signal.SIGKILL, KILL_TIMEOUT_SECONDS))
            raise

    def signal_all(self, number: signal.Signals) -> None:
        """The server and its children; the server first, so that it makes no new ones meanwhile."""
        running = self.process
        if running is not None:
            running.signal(number)
            for child in children(running.pid):
                child.signal(number)

    def logged_since(self, position: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(position)
            return log.read()

    def tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([*lines[-TAIL_LINES:], f"(all of it: {self.log})"])


async def start(
    *command: str, env: dict[str, str], log: int | None = None, account: pwd.struct_passwd | None = None
) -> asyncio.subprocess.Process:
    """In a session of its own, so that Ctrl-C in a terminal reaches the owner only, who then stops in order."""
    return await asyncio.create_subprocess_exec(
        *command,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=log if log is not None else asyncio.subprocess.STDOUT,
        start_new_session=True,
        cwd="/",
        user=None if account is None else account.pw_uid,
        group=None if account is None else account.pw_gid,
        extra_groups=None if account is None else (),
    )


async def run(*command: str, env: dict[str, str], account: pwd.struct_passwd | None = None) -> None:
    process = await start(*command, env=env, account=account)
    output, _ = await process.communicate()
    if process.returncode:
        raise ServersUnavailable(f"{Path(command[0]).name} failed:\n{output.decode(errors='replace').strip()}")

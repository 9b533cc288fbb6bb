"""Starts and stops server processes that outlive their starter, identified by pid and start time.

After a crash another program may have the same pid. So each record on disk contains both, and a process is only
signalled if both match.
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
# The shell ends at once, so the server becomes a child of init: it outlives its starter, which gets no zombie.
DETACHED = '"$@" >&2 & echo $!'
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessId:
    """The pid of a process, and its start time as `started_at` returns it."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        return started_at(self.pid) == self.started

    def signal(self, number: signal.Signals) -> None:
        """Send the signal, unless the process has ended."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def this_process() -> ProcessId:
    return ProcessId(os.getpid(), started_at(os.getpid()) or "")


def started_at(pid: int) -> str | None:
    """Return the start time of a process, or None if it has ended.

    A zombie has ended too: the first process of a container may never reap its children.
    """
    if not PROC.exists():
        return _started_without_proc(pid)
    try:
        state, *fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" and not _threads_left(pid) else fields[18]


def _threads_left(pid: int) -> bool:
    """Return whether other threads run: a process keeps its ports and files until its last thread has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return len(list((PROC / str(pid) / "task").iterdir())) > 1
    return False


def _started_without_proc(pid: int) -> str | None:
    """Return whether the pid exists, as a constant text: without /proc there is no start time."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "another account's"
    return "ours"


def children(pid: int) -> Iterator[ProcessId]:
    """Yield the child processes of `pid`; none without /proc."""
    for stat in PROC.glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            _, parent, *fields = stat.read_text().rpartition(")")[2].split()
            if int(parent) == pid:
                yield ProcessId(int(stat.parent.name), fields[17])


async def wait_until(condition: Callable[[], bool]) -> None:
    """Check the condition every POLL_INTERVAL_SECONDS until it is true."""
    while True:
        if condition():
            return
        await asyncio.sleep(POLL_INTERVAL_SECONDS)


async def shielded(work: Coroutine[None, None, T]) -> T:
    """Run the work to its end; a cancellation is raised afterwards.

    Otherwise a cancellation between the start of a server and the write of its record would leave it running.
    """
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


async def gather_all(*work: Coroutine[None, None, None]) -> None:
    """Wait for all, then raise the first error: nothing runs on after an error."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


class ServerProcess:
    """The process of a server, with its record and log in the state folder, where other processes find it."""

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
        """Start the command detached, append its output to the log, and return the previous length of the log."""
        return await shielded(self._spawn(*command, env=env, account=account))

    async def _spawn(self, *command: str, env: dict[str, str], account: pwd.struct_passwd | None) -> int:
        with self.log.open("ab") as log:
            written = self.log.stat().st_size
            shell = await start("/bin/sh", "-c", DETACHED, "sh", *command, env=env, log=log.fileno(), account=account)
            output, _ = await shell.communicate()
        pid = int(output)
        self._record.write_text(json.dumps(asdict(ProcessId(pid, started_at(pid) or ""))))
        return written

    async def until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready`; raises ServersUnavailable with the end of the log if it ends or is not ready in time."""
        try:
            async with asyncio.timeout(seconds):
                await wait_until(lambda: ready() or self.process is None)
        except TimeoutError as late:
            raise ServersUnavailable(f"{self.name} is not ready after {seconds:.0f} s:\n{self.tail()}") from late
        if self.process is None:
            raise ServersUnavailable(f"{self.name} ended while it started:\n{self.tail()}")

    async def end(self, number: signal.Signals, seconds: float) -> None:
        """Send the signal and wait until the process has ended; kill it after `seconds`."""
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
        """Kill the process if the block fails or is cancelled."""
        try:
            yield
        except BaseException:
            await shielded(self.end(signal.SIGKILL, KILL_TIMEOUT_SECONDS))
            raise

    def signal_all(self, number: signal.Signals) -> None:
        """Signal the server, then its children: in this order it cannot start new ones in between."""
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


class EmbeddedServer:
    """A server that a test can kill and pause, with connections open."""

    server: ServerProcess

    @property
    def alive(self) -> bool:
        return self.server.process is not None

    async def kill(self) -> None:
        """Kill the process, as a crash would, and wait until it has ended."""
        await self.server.end(signal.SIGKILL, KILL_TIMEOUT_SECONDS)

    def pause(self) -> None:
        """Stop all its processes: connections stay open without an answer, as in a network failure."""
        self.server.signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let paused processes run again."""
        self.server.signal_all(signal.SIGCONT)


async def start(
    *command: str, env: dict[str, str], log: int | None = None, account: pwd.struct_passwd | None = None
) -> asyncio.subprocess.Process:
    """Start a process in a new session: Ctrl-C in a terminal reaches only the starter, which then stops the process.

    Its stdout is a pipe; stderr goes to the descriptor `log`, or else to the same pipe.
    """
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
    """Run a command to its end. Raises ServersUnavailable with its output if it fails."""
    process = await start(*command, env=env, account=account)
    output, _ = await process.communicate()
    if process.returncode:
        raise ServersUnavailable(f"{Path(command[0]).name} failed:\n{output.decode(errors='replace').strip()}")

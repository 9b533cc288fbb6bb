"""Starts workers as an operator does: as processes that are configured by environment variables."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from els_stream.config.kafka_security import kafka_variables
from els_stream.embedded.ports import LOOPBACK, new_ports
from els_stream.embedded.processes import shielded, wait_until
from els_stream.errors import DemoFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.config.settings import Settings

START_TIMEOUT_SECONDS: Final = 60.0
STOP_TIMEOUT_SECONDS: Final = 15.0
POLL_INTERVAL_SECONDS: Final = 0.1
PROBE_TIMEOUT_SECONDS: Final = 2.0
TAIL_LINES: Final = 15
READY: Final = 200
# Variables of this process that the workers get from its settings.
REPLACED: Final = ("ELS_KAFKA_", "ELS_DATABASE_URL")
# Arguments of Python; the web port follows.
SERVICE: Final = ("-m", "els_stream", "worker", "--web-port")


@dataclass(frozen=True, slots=True)
class DemoWorker:
    """A worker process; `web` is its address, `log` the file with its output."""

    process: asyncio.subprocess.Process
    web: str
    log: Path

    def check(self) -> None:
        """Raise DemoFailed with the end of the log if the process has ended."""
        if self.process.returncode is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
            raise DemoFailed(f"a worker ended with {self.process.returncode}; {self.log} ends with:\n{tail}")


@contextlib.asynccontextmanager
async def running_workers(
    settings: Settings, count: int, program: Sequence[str] = SERVICE, *, python: str = sys.executable
) -> AsyncIterator[Sequence[DemoWorker]]:
    """Start workers, yield them once they are ready, stop them after the block. After an error their logs stay."""
    started: list[DemoWorker] = []
    try:
        for number, port in enumerate(new_ports(count), start=1):
            log = settings.state_dir / f"{settings.consumer_group}-worker-{number}.log"
            # A cancellation between the start and the append would leave the process running.
            started.append(await shielded(_start(settings, port, log, (python, *program))))
        await _until_ready(started)
        yield started
        for worker in started:
            worker.check()
    finally:
        await shielded(_stop(started))
        if not isinstance(sys.exception(), Exception):  # no error, or Ctrl-C
            for worker in started:
                worker.log.unlink()


async def _start(settings: Settings, port: int, log: Path, command: Sequence[str]) -> DemoWorker:
    """Start in a new session: Ctrl-C in a terminal reaches the demo only, which then stops its workers."""
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith(REPLACED)},
        **kafka_variables(settings),
        "ELS_BROKER_URL": str(settings.broker),
        "ELS_DATABASE_URL": settings.database,
        "ELS_CONSUMER_GROUP": settings.consumer_group,
        "ELS_TOPIC_PREFIX": settings.topic_prefix,
        "ELS_STATE_DIR": str(settings.state_dir),
        "ELS_BATCH_DEADLINE_HOURS": str(settings.batch_deadline_hours),
        "ELS_EXPIRY_INTERVAL_SECONDS": str(settings.expiry_interval_seconds),
        "ELS_WEB_HOST": LOOPBACK,
    }
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(*command, str(port)),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    return DemoWorker(process, f"http://{LOOPBACK}:{port}", log)


async def _until_ready(started: Sequence[DemoWorker]) -> None:
    """Wait until all are ready at the same time: each worker that joins makes the others unready for a moment."""
    try:
        async with asyncio.timeout(START_TIMEOUT_SECONDS), aiohttp.ClientSession() as http:
            while True:
                if all([await _ready(http, worker) for worker in started]):
                    return
                await asyncio.sleep(POLL_INTERVAL_SECONDS)
    except TimeoutError as late:
        logs = ", ".join(str(worker.log) for worker in started)
        raise DemoFailed(f"the workers were not ready after {START_TIMEOUT_SECONDS:.0f} s: see {logs}") from late


async def _ready(http: aiohttp.ClientSession, worker: DemoWorker) -> bool:
    worker.check()
    try:
        async with http.get(f"{worker.web}/readyz", timeout=aiohttp.ClientTimeout(PROBE_TIMEOUT_SECONDS)) as answer:
            return answer.status == READY
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _stop(started: Sequence[DemoWorker]) -> None:
    for worker in started:
        if worker.process.returncode is None:
            worker.process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
            await wait_until(lambda: all(worker.process.returncode is not None for worker in started))
    except TimeoutError:
        for worker in started:
            if worker.process.returncode is None:
                worker.process.kill()
    for worker in started:
        await worker.process.wait()

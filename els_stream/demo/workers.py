"""Workers as an operator starts them: processes of their own, told where to be by their environment alone."""

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

from els_stream.embedded.ports import LOOPBACK, new_ports
from els_stream.embedded.processes import eventually, undisturbed
from els_stream.errors import DemoFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.config.settings import Settings

READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.1
PROBE_SECONDS: Final = 2.0
TAIL_LINES: Final = 15
READY: Final = 200
# Given to Python, with the web port behind it.
SERVICE: Final = ("-m", "els_stream", "worker", "--web-port")


@dataclass(frozen=True, slots=True)
class DemoWorker:
    process: asyncio.subprocess.Process
    web: str
    log: Path

    def check(self) -> None:
        """Raises with the end of its log if it has ended."""
        if self.process.returncode is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
            raise DemoFailed(f"a worker ended with {self.process.returncode}; {self.log} ends with:\n{tail}")


@contextlib.asynccontextmanager
async def workers(
    settings: Settings, count: int, program: Sequence[str] = SERVICE
) -> AsyncIterator[Sequence[DemoWorker]]:
    """Running and ready; ended with the block, however that ends. After an error their logs stay."""
    started: list[DemoWorker] = []
    try:
        for number, port in enumerate(new_ports(count), start=1):
            log = settings.state_dir / f"{settings.consumer_group}-worker-{number}.log"
            # Between the start of a process and its place in the list no cancellation may come.
            started.append(await undisturbed(_start(settings, port, log, program)))
        await _until_ready(started)
        yield started
        for worker in started:
            worker.check()
    finally:
        await undisturbed(_stop(started))
        if not isinstance(sys.exception(), Exception):  # all is well, or it was Ctrl-C
            for worker in started:
                worker.log.unlink()


async def _start(settings: Settings, port: int, log: Path, program: Sequence[str]) -> DemoWorker:
    """In a session of its own: Ctrl-C in a terminal reaches the demo only, which stops its workers in order."""
    env = {
        **os.environ,
        "ELS_BROKER_URL": settings.broker,
        "ELS_DATABASE_URL": settings.database,
        "ELS_CONSUMER_GROUP": settings.consumer_group,
        "ELS_TOPIC_PREFIX": settings.topic_prefix,
        "ELS_STATE_DIR": str(settings.state_dir),
        "ELS_BATCH_DEADLINE_HOURS": str(settings.batch_deadline_hours),
        "ELS_EXPIRY_INTERVAL_SECONDS": str(settings.expiry_interval_seconds),
        "ELS_WEB_HOST": LOOPBACK,
    }
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *program, str(port)),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    return DemoWorker(process, f"http://{LOOPBACK}:{port}", log)


async def _until_ready(started: Sequence[DemoWorker]) -> None:
    """All at once: the second to join unsettles the first."""
    try:
        async with asyncio.timeout(READY_SECONDS), aiohttp.ClientSession() as http:
            while True:
                if all([await _ready(http, worker) for worker in started]):
                    return
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as late:
        logs = ", ".join(str(worker.log) for worker in started)
        raise DemoFailed(f"the workers were not ready after {READY_SECONDS:.0f} s: see {logs}") from late


async def _ready(http: aiohttp.ClientSession, worker: DemoWorker) -> bool:
    worker.check()
    try:
        async with http.get(f"{worker.web}/readyz", timeout=aiohttp.ClientTimeout(PROBE_SECONDS)) as answer:
            return answer.status == READY
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _stop(started: Sequence[DemoWorker]) -> None:
    for worker in started:
        if worker.process.returncode is None:
            worker.process.terminate()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await eventually(lambda: all(worker.process.returncode is not None for worker in started))
    except TimeoutError:
        for worker in started:
            if worker.process.returncode is None:
                worker.process.kill()
    for worker in started:
        await worker.process.wait()

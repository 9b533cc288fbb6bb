"""Starts, stops, kills and freezes workers, as an operator would."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from els_stream.config.settings import Settings

ROOT = Path(__file__).parent.parent.parent
STOP_TIMEOUT_SECONDS = 6.0
LOG_TAIL_CHARACTERS = 4000

Worker = subprocess.Popen[bytes]


class WorkerPool:
    """Workers, and processes that run only a relay, that write to one log.

    `check` raises if one has ended by itself. `stop_seconds` is how long a stop may take.
    """

    def __init__(self, settings: Settings, log: Path) -> None:
        self.log = log
        self.workers: list[Worker] = []
        self.relays: list[Worker] = []
        self._stopping: list[Worker] = []
        self.stop_seconds = STOP_TIMEOUT_SECONDS
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("ELS_")} | {
            "ELS_BROKER_URL": str(settings.broker),
            "ELS_DATABASE_URL": settings.database,
            "ELS_TOPIC_PREFIX": settings.topic_prefix,
            "ELS_CONSUMER_GROUP": settings.consumer_group,
            "ELS_WEB_PORT": "0",
            "ELS_SESSION_TIMEOUT_SECONDS": "2",
            "ELS_HEARTBEAT_INTERVAL_SECONDS": "0.5",
            "ELS_REBALANCE_TIMEOUT_SECONDS": "11",
            "ELS_METADATA_MAX_AGE_SECONDS": "1",
            "ELS_RETRY_MAX_SECONDS": "1",
            "ELS_STATEMENT_TIMEOUT_SECONDS": "4",
        }

    def set(self, **settings: object) -> None:
        """Change settings, named as their variables without ELS_, for workers that start afterwards."""
        self._environment |= {f"ELS_{name.upper()}": str(value) for name, value in settings.items()}

    def start(self, environment: Mapping[str, str] | None = None) -> Worker:
        """Start a worker; `environment` has further variables for it."""
        worker = self._spawn("worker", environment or {})
        self.workers.append(worker)
        return worker

    def start_relay(self) -> None:
        self.relays.append(self._spawn("relay", {}))

    def _spawn(self, command: str, environment: Mapping[str, str]) -> Worker:
        with self.log.open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "els_stream", command],
                env={**self._environment, **environment},
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )

    def check(self) -> None:
        for worker in (*self.workers, *self.relays):
            if worker.poll() is not None:
                raise AssertionError(f"a worker ended with {worker.returncode}; the log ends with:\n{self.log_tail()}")

    def log_tail(self) -> str:
        """Return the end of the log; empty if no worker was started."""
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:] if self.log.exists() else ""

    def kill(self, worker: Worker) -> None:
        self.workers.remove(worker)
        worker.kill()
        worker.wait()

    def replace_killed(self, process: Worker) -> None:
        """Kill a worker or relay and start another."""
        if process in self.workers:
            self.kill(process)
            self.start()
            return
        self.relays.remove(process)
        process.kill()
        process.wait()
        self.start_relay()

    def kill_all(self) -> None:
        for processes in (self.workers, self.relays, self._stopping):
            for process in processes:
                process.kill()
                process.wait()
            processes.clear()

    def freeze(self, worker: Worker) -> None:
        worker.send_signal(signal.SIGSTOP)

    def wake(self, worker: Worker) -> None:
        worker.send_signal(signal.SIGCONT)

    async def stop(self, worker: Worker) -> int:
        """Stop a worker with SIGTERM and return its exit code.

        It is 0 also for a worker that got the signal before it had its handler.
        """
        self.workers.remove(worker)  # `check` must not find it when it has ended
        self._stopping.append(worker)
        worker.terminate()
        code = await asyncio.to_thread(worker.wait, self.stop_seconds)
        self._stopping.remove(worker)
        return 0 if code == -signal.SIGTERM else code

    async def stop_all(self) -> list[int]:
        """Stop all workers and relays; return their exit codes."""
        self.workers += self.relays
        self.relays = []
        return list(await asyncio.gather(*map(self.stop, list(self.workers))))

    async def until_ended(self, worker: Worker, seconds: float) -> int:
        """Wait for a worker that ends by itself; return its exit code."""
        code = await asyncio.to_thread(worker.wait, seconds)
        self.workers.remove(worker)
        return code

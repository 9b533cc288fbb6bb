"""A process that runs `effects_worker`, and the answers of its web server."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ENTRY = Path(__file__).with_name("effects_worker.py")
ROOT = Path(__file__).parent.parent.parent


class EffectsWorkerProcess:
    """A worker process. `stop` and `kill` return when it has ended."""

    def __init__(self, env: dict[str, str], log: Path, port: int, output: int | None = None) -> None:
        """`output` is the descriptor for its output, if this is not to go to the file `log`."""
        self.web, self.log = f"127.0.0.1:{port}", log
        with log.open("ab") as file:
            out = file.fileno() if output is None else output
            self.process = subprocess.Popen([sys.executable, str(ENTRY)], env=env, cwd=ROOT, stdout=out, stderr=out)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def kill(self) -> None:
        self.process.kill()
        await asyncio.to_thread(self.process.wait)

    async def stop(self) -> float:
        """Send SIGTERM and wait for the end; return how many seconds that took."""
        started = time.monotonic()
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 20)
        return time.monotonic() - started

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        return await asyncio.to_thread(_get, self.web, path)

    async def metrics(self) -> str:
        return await asyncio.to_thread(_read, self.web, "/metrics")

    async def codes(self) -> set[str]:
        """Return the codes of `/readyz`; empty when it is ready, `down` while its web server does not answer."""
        status, body = await self.get("/readyz")
        return {"down"} if not status else {str(reason["code"]) for reason in body["reasons"]}


def _get(address: str, path: str) -> tuple[int, dict[str, Any]]:
    try:
        status, body = _request(address, path)
    except OSError:
        return 0, {}
    return status, json.loads(body)


def _read(address: str, path: str) -> str:
    _, body = _request(address, path)
    return body.decode()


def _request(address: str, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(address, timeout=2)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()

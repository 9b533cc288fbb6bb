"""A real worker process, and requests to its web server."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families

from els_stream.embedded.ports import new_ports
from els_stream.embedded.servers import Addresses
from tests.support import factories, waiting

EXIT_TIMEOUT_SECONDS = 10


@dataclass
class Worker:
    url: str
    http: aiohttp.ClientSession
    process: asyncio.subprocess.Process

    async def get(self, path: str, **headers: str) -> tuple[int, str, str]:
        async with self.http.get(self.url + path, headers=headers) as response:
            return response.status, response.headers["Content-Type"], await response.text()

    async def probe(self, path: str) -> tuple[int, set[str]]:
        async with self.http.get(self.url + path) as response:
            body: dict[str, Any] = await response.json()
            return response.status, {reason["code"] for reason in body["reasons"]}

    async def metric(self, name: str, **labels: str) -> float | None:
        _, _, shown = await self.get("/metrics")
        families = text_string_to_metric_families(shown)
        return next((s.value for f in families for s in f.samples if (s.name, s.labels) == (name, labels)), None)

    async def reasons(self) -> list[tuple[str, str]]:
        """Return code and detail of each reason why it is not ready."""
        async with self.http.get(self.url + "/readyz") as response:
            body: dict[str, Any] = await response.json()
            return [(reason["code"], reason["detail"]) for reason in body["reasons"]]

    async def listening(self) -> bool:
        try:
            await self.probe("/livez")
        except aiohttp.ClientConnectionError:
            return False
        return True

    async def ready(self) -> bool:
        try:
            return await self.probe("/readyz") == (200, set())
        except aiohttp.ClientConnectionError:
            return False


@asynccontextmanager
async def running_worker(
    addresses: Addresses, database: str, topic_prefix: str, log: Path, **settings: str
) -> AsyncIterator[Worker]:
    """Start a worker and wait until it is ready; print its log in the end. `settings` are environment variables."""
    async with starting_worker(addresses, database, topic_prefix, log, **settings) as worker:
        await until(worker.ready, alive=lambda: worker.process.returncode is None)
        yield worker


@asynccontextmanager
async def starting_worker(
    addresses: Addresses, database: str, topic_prefix: str, log: Path, **settings: str
) -> AsyncIterator[Worker]:
    """Start a worker and wait only until its web server listens."""
    (port,) = new_ports(1)
    environment = {
        "ELS_BROKER_URL": addresses.broker,
        "ELS_DATABASE_URL": database,
        "ELS_TOPIC_PREFIX": topic_prefix,
        "ELS_CONSUMER_GROUP": f"{topic_prefix}group",
        "ELS_SESSION_TIMEOUT_SECONDS": "3",
        "ELS_HEARTBEAT_INTERVAL_SECONDS": "0.5",
        "ELS_STATS_INTERVAL_SECONDS": "0.2",
        "ELS_WEB_PORT": str(port),
        **settings,
    }
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "els_stream", "worker"), env=os.environ | environment, stdout=out, stderr=out
        )
    async with aiohttp.ClientSession() as http:
        worker = Worker(f"http://127.0.0.1:{port}", http, process)
        try:
            await until(worker.listening, alive=lambda: process.returncode is None)
            yield worker
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), EXIT_TIMEOUT_SECONDS)
            print_log(log)


def print_log(log: Path) -> None:
    sys.stdout.write(log.read_text())


async def until(
    condition: Callable[[], Awaitable[bool]], *, seconds: float = 30, alive: Callable[[], bool] = lambda: True
) -> None:
    async def checked() -> bool:
        assert alive(), "the worker exited"
        return await condition()

    await waiting.until(checked, seconds=seconds)


async def until_reason(worker: Worker, code: str, text: str) -> None:
    """Wait until the worker is not ready for this reason, with this text in its detail."""

    async def given() -> bool:
        return any(text in detail for found, detail in await worker.reasons() if found == code)

    await until(given)


async def send(addresses: Addresses, topic_prefix: str, *events: tuple[str, bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=addresses.broker) as producer:
        for topic, value in events:
            await producer.send_and_wait(topic_prefix + topic, value, key=factories.BATCH.encode())

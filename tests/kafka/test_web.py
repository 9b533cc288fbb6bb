"""What a real worker process answers over HTTP."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.contracts.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from els_stream.dev.kafka import EmbeddedKafka
from els_stream.dev.ports import new_ports
from els_stream.dev.postgres import EmbeddedPostgres
from els_stream.dev.servers import Addresses, EmbeddedServers
from tests import factories

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@dataclass
class Worker:
    url: str
    http: aiohttp.ClientSession

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

    async def ready(self) -> bool:
        try:
            return await self.probe("/readyz") == (200, set())
        except aiohttp.ClientConnectionError:
            return False


@pytest.fixture
async def worker(
    addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str], tmp_path: Path
) -> AsyncIterator[Worker]:
    assert kafka_topics
    (port,) = new_ports(1)
    environment = {
        "ELS_BROKER_URL": addresses.broker,
        "ELS_DATABASE_URL": database,
        "ELS_TOPIC_PREFIX": topic_prefix,
        "ELS_CONSUMER_GROUP": f"{topic_prefix}group",
        "ELS_SESSION_TIMEOUT_SECONDS": "3",
        "ELS_HEARTBEAT_INTERVAL_SECONDS": "0.5",
        "ELS_WEB_PORT": str(port),
    }
    log = tmp_path / "worker.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "els_stream", "worker"), env=os.environ | environment, stdout=out, stderr=out
        )
    async with aiohttp.ClientSession() as http:
        worker = Worker(f"http://127.0.0.1:{port}", http)
        try:
            await until(worker.ready, alive=lambda: process.returncode is None)
            yield worker
        finally:
            if process.returncode is None:
                process.terminate()
            await asyncio.wait_for(process.wait(), 10)
            sys.stdout.write(log.read_text())


async def until(
    condition: Callable[[], Awaitable[bool]], *, seconds: float = 30, alive: Callable[[], bool] = lambda: True
) -> None:
    async with asyncio.timeout(seconds):
        while True:
            assert alive(), "the worker ended"
            if await condition():
                return
            await asyncio.sleep(0.05)


async def send(addresses: Addresses, topic_prefix: str, *events: tuple[str, bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=addresses.broker) as producer:
        for topic, value in events:
            await producer.send_and_wait(topic_prefix + topic, value, key=factories.BATCH.encode())


async def test_a_worker_is_ready_and_alive_and_shows_nothing_of_fausts_own_pages(worker: Worker) -> None:
    assert await worker.probe("/livez") == (200, set())
    assert [(await worker.get(path))[0] for path in ("/router/", "/table/", "/graph", "/performance")] == [404] * 4


async def test_metrics_come_in_the_format_that_is_asked_for(worker: Worker) -> None:
    status, plain, shown = await worker.get("/metrics")
    assert (status, plain.partition(";")[0]) == (200, "text/plain")
    assert "# TYPE els_events_total counter" in shown

    _, modern, shown = await worker.get("/metrics", Accept=OPENMETRICS)

    assert modern.partition(";")[0] == "application/openmetrics-text"
    assert shown.endswith("# EOF\n")


async def test_a_batch_is_counted_from_its_registration_to_its_completion(
    worker: Worker, addresses: Addresses, topic_prefix: str
) -> None:
    async def batches() -> tuple[float | None, float | None]:
        return (
            await worker.metric("huleedu_batches_active", class_type="GUEST"),
            await worker.metric("huleedu_batches_completed", class_type="GUEST"),
        )

    async def registered() -> bool:
        return await batches() == (1, 0)

    async def completed() -> bool:
        return await batches() == (0, 1)

    await send(addresses, topic_prefix, (BATCH_REGISTERED, factories.registration(essays=2)))
    await until(registered)
    contents = [(CONTENT_PROVISIONED, factories.content(number=number)) for number in (0, 1, 1, 2)]
    await send(addresses, topic_prefix, *contents)
    await until(completed)

    async def outcome(topic: str, outcome: str) -> float | None:
        return await worker.metric("els_events_total", topic=topic, outcome=outcome)

    assert await outcome(BATCH_REGISTERED, "registered") == 1
    assert await outcome(CONTENT_PROVISIONED, "assigned") == 2
    assert await outcome(CONTENT_PROVISIONED, "already_assigned") == 1
    assert await outcome(CONTENT_PROVISIONED, "excess") == 1
    assert await worker.metric("els_lag_records", topic=CONTENT_PROVISIONED, partition="0") == 0


async def test_a_dead_letter_is_counted_by_its_reason(worker: Worker, addresses: Addresses, topic_prefix: str) -> None:
    async def counted() -> bool:
        return await worker.metric("els_dead_letters", reason="not_json") == 1

    await send(addresses, topic_prefix, (BATCH_REGISTERED, b"Dear batch orchestrator,"))

    await until(counted)


async def test_a_schema_that_is_gone_turns_readiness_off_and_restarts_nobody(
    worker: Worker, engine: AsyncEngine
) -> None:
    async def outdated() -> bool:
        return await worker.probe("/readyz") == (503, {"schema_outdated"})

    async with engine.begin() as conn:
        await conn.execute(text("ALTER TABLE alembic_version RENAME TO elsewhere"))
    await until(outdated)
    assert await worker.probe("/livez") == (200, set())

    async with engine.begin() as conn:
        await conn.execute(text("ALTER TABLE elsewhere RENAME TO alembic_version"))

    await until(worker.ready)


@pytest.mark.parametrize("away", ["postgres", "kafka"])
async def test_an_outage_turns_readiness_off_at_once_keeps_the_worker_alive_and_ends_by_itself(
    worker: Worker, servers: EmbeddedServers, away: str
) -> None:
    """A server that hangs is the harder case: nothing is refused, nothing answers."""
    code = {"postgres": "database_unreachable", "kafka": "broker_unreachable"}[away]
    server: EmbeddedPostgres | EmbeddedKafka = servers.postgres if away == "postgres" else servers.kafka

    async def noticed() -> bool:
        status, codes = await worker.probe("/readyz")
        return status == 503 and code in codes

    server.pause()
    try:
        await until(noticed, seconds=10)
        assert await worker.probe("/livez") == (200, set())
    finally:
        server.resume()

    await until(worker.ready)

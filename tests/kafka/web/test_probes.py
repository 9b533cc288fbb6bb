"""Probes and metrics of a real worker process."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from els_stream.embedded.kafka import EmbeddedKafka
from els_stream.embedded.postgres import EmbeddedPostgres
from els_stream.embedded.servers import Addresses, EmbeddedServers
from els_stream.events.topics import CONTENT_PROVISIONED
from tests.support import factories
from tests.support.batch_harness import BatchHarness
from tests.support.staged_workers import locked_batch
from tests.support.worker_process import Worker, running_worker, send, until

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


async def test_a_worker_is_ready_and_alive_and_does_not_serve_fausts_own_pages(worker: Worker) -> None:
    assert await worker.probe("/livez") == (200, set())
    assert [(await worker.get(path))[0] for path in ("/router/", "/table/", "/graph", "/performance")] == [404] * 4


async def test_a_worker_listens_on_loopback_only_by_default(worker: Worker) -> None:
    port = URL(worker.url).port
    assert port is not None
    elsewhere = str(IPv4Address("127.0.0.1") + 1)

    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(elsewhere, port)


async def test_a_stalled_worker_is_not_alive_until_it_makes_progress(
    engine: AsyncEngine,
    addresses: Addresses,
    database: str,
    topic_prefix: str,
    kafka_topics: dict[str, str],
    tmp_path: Path,
) -> None:
    """It waits for a lock for so long that it neither retries nor makes progress."""
    assert kafka_topics
    long_timeouts = {
        "ELS_LOCK_TIMEOUT_SECONDS": "25",
        "ELS_STATEMENT_TIMEOUT_SECONDS": "28",
        "ELS_LIVENESS_STALL_SECONDS": "1",
    }
    harness = BatchHarness(engine=engine)
    await harness.together(harness.registration(essays=1))

    async with running_worker(addresses, database, topic_prefix, tmp_path / "worker.log", **long_timeouts) as waiting:

        async def stalled() -> bool:
            return await waiting.probe("/livez") == (503, {"stalled"})

        async def alive() -> bool:
            return await waiting.probe("/livez") == (200, set())

        async with locked_batch(harness, factories.BATCH):
            await send(addresses, topic_prefix, (CONTENT_PROVISIONED, factories.content(number=0)))
            await until(stalled)
        await until(alive)


async def test_metrics_come_in_the_format_that_is_asked_for(worker: Worker) -> None:
    status, plain, shown = await worker.get("/metrics")
    assert (status, plain.partition(";")[0]) == (200, "text/plain")
    assert "# TYPE els_events_total counter" in shown

    _, modern, shown = await worker.get("/metrics", Accept=OPENMETRICS)

    assert modern.partition(";")[0] == "application/openmetrics-text"
    assert shown.endswith("# EOF\n")


async def test_a_missing_schema_makes_a_worker_unready_but_not_dead(worker: Worker, engine: AsyncEngine) -> None:
    async def outdated() -> bool:
        return await worker.probe("/readyz") == (503, {"schema_outdated"})

    async with engine.begin() as conn:
        await conn.execute(text("ALTER TABLE els_schema_version RENAME TO elsewhere"))
    await until(outdated)
    assert await worker.probe("/livez") == (200, set())

    async with engine.begin() as conn:
        await conn.execute(text("ALTER TABLE elsewhere RENAME TO els_schema_version"))

    await until(worker.ready)


@pytest.mark.parametrize("away", ["postgres", "kafka"])
async def test_an_outage_makes_a_worker_unready_but_not_dead_until_it_ends(
    worker: Worker, servers: EmbeddedServers, away: str
) -> None:
    """The server hangs, which is harder to notice than a refused connection."""
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

"""Workers go on at the new primary within seconds, whatever became of the old one; nothing is lost or doubled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from els_stream.demo.expectations import Traffic
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.embedded.ports import new_ports
from els_stream.embedded.servers import Addresses
from els_stream.kafka.topics import TOPICS, delete_topics
from tests.support.demo_environment import DemoEnvironment
from tests.support.demo_queries import HANDLED
from tests.support.forwarder import forwarder
from tests.support.local_postgres import PASSWORD, USER, LocalPostgres
from tests.support.standby import primary_and_standby
from tests.support.waiting import until

MIX = Mix(late=0.2, refused=0.05)
BACK_WITHIN_SECONDS = 10.0
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'els %'"


@asynccontextmanager
async def busy_workers(
    addresses: Addresses, url: str, prefix: str, folder: Path, web_port: int = 0
) -> AsyncIterator[tuple[DemoEnvironment, Traffic]]:
    """Two workers in the middle of traffic; the first has its probes at `web_port`."""
    traffic = make_traffic(seed=12, batches=120, largest=30, mix=MIX)
    async with DemoEnvironment(addresses.broker, url, prefix, folder) as env:
        env.pool.set(micro_batch_records=20, buffered_records_per_partition=100, transactions_in_flight=1)
        await env.send(traffic.messages)
        env.pool.start({"ELS_WEB_PORT": str(web_port)})
        env.pool.start()
        await env.until_handled(len(traffic.messages) // 10)
        yield env, traffic
    await delete_topics(addresses.broker, [prefix + plan.topic for plan in TOPICS])


async def until_probes(port: int, *, livez: int, readyz: int) -> None:
    """Wait until both probes of a worker answer with these statuses."""

    async def answered() -> bool:
        statuses = []
        for probe in ("livez", "readyz"):
            async with http.get(f"http://127.0.0.1:{port}/{probe}") as answer:
                statuses.append(answer.status)
        return statuses == [livez, readyz]

    async with aiohttp.ClientSession() as http:
        await until(answered, seconds=2 * BACK_WITHIN_SECONDS)


async def until_back(env: DemoEnvironment, primary: LocalPostgres) -> None:
    """Wait until records are processed on this server, or none is left."""
    env.disconnect()
    before = await primary.ask(HANDLED)

    async def further() -> bool:
        return await env.position() > before or await env.is_all_handled()

    await until(further, seconds=BACK_WITHIN_SECONDS)


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_the_next_host_takes_over_and_the_old_primary_comes_back_as_standby(
    addresses: Addresses, topic_prefix: str, tmp_path: Path
) -> None:
    async with primary_and_standby(tmp_path) as (first, second):
        hosts = f"127.0.0.1:{first.port},127.0.0.1:{second.port}"
        url = f"postgresql://{USER}:{PASSWORD}@{hosts}/{USER}?target_session_attrs=read-write"
        (port,) = new_ports(1)
        async with busy_workers(addresses, url, topic_prefix, tmp_path, port) as (env, traffic):
            await first.stop()
            await until_probes(port, livez=200, readyz=503)
            await second.promote()
            await until_back(env, second)
            await until_probes(port, livez=200, readyz=200)

            # The first host in the address is a hot standby now: connecting works, writing does not.
            first.become_standby_of(second)
            await first.start()
            await second.execute(END_SESSIONS)
            await until_back(env, second)
            await first.until_left(BACK_WITHIN_SECONDS)

            await env.until_all_handled()
            assert await env.wrong(traffic) == []


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_no_session_stays_on_a_primary_that_became_read_only_behind_a_forwarder(
    addresses: Addresses, topic_prefix: str, tmp_path: Path
) -> None:
    """As in a planned switch-over: the forwarder keeps open connections, and the old primary still answers."""
    async with primary_and_standby(tmp_path) as (first, second), forwarder(first.port) as path:
        url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{path.port}/{USER}"
        async with busy_workers(addresses, url, topic_prefix, tmp_path) as (env, traffic):
            first.configure({"default_transaction_read_only": "on"})
            first.reload()
            await first.until_read_only()
            await second.until_replayed(first)
            await second.promote()
            path.target = second.port

            await until_back(env, second)
            await first.until_left(BACK_WITHIN_SECONDS)

            await env.until_all_handled()
            assert await env.wrong(traffic) == []

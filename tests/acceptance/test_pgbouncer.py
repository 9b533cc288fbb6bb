"""Workers behind PgBouncer in session mode lose and double nothing when it or the database is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from els_stream.db import migration
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.embedded.servers import Addresses
from els_stream.kafka.topics import TOPICS, delete_topics
from tests.support.demo_environment import DemoEnvironment
from tests.support.local_postgres import USER, LocalPostgres, embedded_binaries
from tests.support.packaged_servers import find_pgbouncer, required
from tests.support.pgbouncer import PgBouncer, configuration

MIX = Mix(late=0.2, refused=0.05)


@pytest.mark.long
@pytest.mark.timeout(240)
async def test_kills_of_the_pooler_and_of_the_database_lose_and_double_nothing(
    addresses: Addresses, topic_prefix: str, tmp_path: Path
) -> None:
    bouncer = PgBouncer(required(find_pgbouncer(), "PgBouncer"), tmp_path)
    traffic = make_traffic(seed=13, batches=100, largest=30, mix=MIX)
    total = len(traffic.messages)
    try:
        async with LocalPostgres(embedded_binaries(tmp_path), tmp_path) as server:
            await server.create()
            await migration.upgrade(server.url())
            bouncer.configure(configuration(bouncer, server.port, query_wait_timeout=10))
            await bouncer.start()
            async with DemoEnvironment(addresses.broker, bouncer.url(USER), topic_prefix, tmp_path) as env:
                env.pool.set(micro_batch_records=20, buffered_records_per_partition=100, transactions_in_flight=1)
                await env.send(traffic.messages)
                for _ in range(2):
                    env.pool.start()
                await env.until_handled(total // 10)
                await bouncer.kill()
                await bouncer.start()
                await env.until_handled(total // 3)
                await server.crash()
                await server.start()
                await env.until_all_handled()

                assert await env.wrong(traffic) == []
    finally:
        await bouncer.stop()
        await delete_topics(addresses.broker, [topic_prefix + plan.topic for plan in TOPICS])

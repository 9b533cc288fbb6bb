"""A path to the broker on which the open connections transport nothing more, and are not closed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.ports import LOOPBACK
from els_stream.events.topics import ESSAYS_READY, SLOT_ASSIGNED
from els_stream.kafka.topics import TopicPlan, ensure_topics
from tests.support.outbox_rows import commit, row, wait_until_empty
from tests.support.paths import reachable_folder
from tests.support.proxied_kafka import ProxiedKafka
from tests.support.relays import read_records, running_relay
from tests.support.tcp_proxy import TcpProxy

EARLY, LATE = (TopicPlan(topic, retention_days=1, max_bytes=1_000_000) for topic in (SLOT_ASSIGNED, ESSAYS_READY))


@pytest.fixture
async def proxied() -> AsyncIterator[tuple[ProxiedKafka, TcpProxy]]:
    """A broker of its own, and the proxy that leads to it."""
    with reachable_folder() as folder:
        kafka = ProxiedKafka(folder)
        async with TcpProxy(kafka.proxied.behind_proxy).running() as path:
            kafka.proxied.proxy_port = path.port
            await kafka.start()
            try:
                yield kafka, path
            finally:
                await kafka.stop()


async def test_a_connection_that_falls_silent_says_nothing_about_a_topic_that_is_new_to_it(
    engine: AsyncEngine, topic_prefix: str, proxied: tuple[ProxiedKafka, TcpProxy]
) -> None:
    kafka, path = proxied
    await ensure_topics(kafka.address, topic_prefix, topics=[EARLY])
    async with running_relay(engine, f"{LOOPBACK}:{path.port}", topic_prefix) as relay:
        await commit(engine, [row("batch", 1, EARLY.topic)])
        await wait_until_empty(engine)
        await ensure_topics(kafka.address, topic_prefix, topics=[LATE])
        path.silence()

        await commit(engine, [row("batch", 2, LATE.topic)])
        relay.wake()

        await wait_until_empty(engine)
        assert relay.status().rejected == 0
    found = await read_records(kafka.address, [topic_prefix + plan.topic for plan in (EARLY, LATE)])
    assert sorted(record.topic for record in found) == sorted(topic_prefix + plan.topic for plan in (EARLY, LATE))

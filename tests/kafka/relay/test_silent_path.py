"""A path to the broker on which the open connections transport nothing more and are not closed, or that is slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.ports import LOOPBACK
from els_stream.events.topics import ESSAYS_READY, SLOT_ASSIGNED
from els_stream.kafka.topics import TopicPlan, ensure_topics
from els_stream.relay.options import RelayOptions
from els_stream.relay.producer import Producer
from tests.support.outbox_rows import commit, row, wait_until_empty
from tests.support.paths import reachable_folder
from tests.support.proxied_kafka import ProxiedKafka
from tests.support.relays import read_records, running_relay
from tests.support.tcp_proxy import TcpProxy
from tests.support.waiting import until

EARLY, LATE = (TopicPlan(topic, retention_days=1, max_bytes=1_000_000) for topic in (SLOT_ASSIGNED, ESSAYS_READY))
PARTITIONS = 4
TIMEOUT_SECONDS = 0.5
# A request and its answer take twice that: one of them fits into the timeout, two do not.
SLOW_SECONDS = 0.2


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


@pytest.fixture
async def producer_and_path(
    proxied: tuple[ProxiedKafka, TcpProxy], topic_prefix: str
) -> AsyncIterator[tuple[Producer, TcpProxy]]:
    """A producer that was connected before the topics were created, and its path to the broker."""
    kafka, path = proxied
    producer = Producer(f"{LOOPBACK}:{path.port}", RelayOptions(topic_timeout_seconds=TIMEOUT_SECONDS))
    await producer.open()
    await ensure_topics(kafka.address, topic_prefix, PARTITIONS, topics=[EARLY, LATE])
    yield producer, path
    await producer.abandon()


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


async def test_an_answer_that_was_asked_for_before_says_nothing_about_a_topic(
    topic_prefix: str, producer_and_path: tuple[Producer, TcpProxy]
) -> None:
    producer, path = producer_and_path
    path.delay(SLOW_SECONDS)
    before = path.chunks
    earlier = asyncio.create_task(producer.partitions(topic_prefix + EARLY.topic))
    await until(lambda: path.chunks > before)

    found = await producer.partitions(topic_prefix + LATE.topic)

    assert isinstance(found, TimeoutError)
    await earlier


async def test_an_answer_that_comes_while_the_process_stands_still_counts(
    topic_prefix: str, producer_and_path: tuple[Producer, TcpProxy]
) -> None:
    producer, _ = producer_and_path
    vars(producer)["_producer"].client.cluster.add_listener(lambda _: time.sleep(1.5 * TIMEOUT_SECONDS))

    assert await producer.partitions(topic_prefix + LATE.topic) == PARTITIONS

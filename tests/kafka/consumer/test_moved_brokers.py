"""Brokers that come back at other addresses: the bootstrap address leads to them."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import Settings
from els_stream.embedded.ports import LOOPBACK
from els_stream.embedded.servers import EmbeddedServers
from els_stream.events import topics
from els_stream.kafka.topics import TOPICS, delete_topics, ensure_topics
from tests.support.consumer_testbed import ConsumerTestbed
from tests.support.effects_worker_process import EffectsWorkerProcess
from tests.support.moved_broker import moved_broker
from tests.support.outbox_rows import commit, row, wait_until_empty
from tests.support.relays import PARTITIONS, QUICK, read_records, running_relay
from tests.support.silent_server import silent_server
from tests.support.tcp_proxy import TcpProxy

SOME = [f"record {number}" for number in range(300)]
MOST_LOG_LINES = 150


async def test_a_worker_finds_a_broker_that_came_back_at_another_address(
    testbed: ConsumerTestbed, servers: EmbeddedServers, server_settings: Settings
) -> None:
    async with (
        moved_broker(servers.kafka, server_settings.state_dir) as broker,
        TcpProxy((LOOPBACK, broker.port)).running() as proxy,
    ):
        worker = testbed.start(broker_url=f"{LOOPBACK}:{proxy.port}")
        await testbed.produce(SOME)
        await testbed.all_processed_once()

        await broker.leave()
        await broker.arrive()
        proxy.target, testbed.broker = (LOOPBACK, broker.port), broker.address
        await testbed.produce(SOME)
        await testbed.all_processed_once()
        await testbed.ready(worker)
        await testbed.end()
    assert max(testbed.log_lengths()) < MOST_LOG_LINES


@pytest.mark.long
@pytest.mark.parametrize("old_address", ["refuses", "is silent"])
async def test_consumers_and_relay_find_a_broker_that_came_back_at_another_address(
    testbed: ConsumerTestbed, servers: EmbeddedServers, server_settings: Settings, engine: AsyncEngine, old_address: str
) -> None:
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(moved_broker(servers.kafka, server_settings.state_dir))
        proxy = await stack.enter_async_context(TcpProxy((LOOPBACK, broker.port)).running())
        bootstrap = f"{LOOPBACK}:{proxy.port}"
        await ensure_topics(broker.address, testbed.prefix, partitions=PARTITIONS)
        workers = [testbed.start(broker_url=bootstrap) for _ in range(2)]
        async with running_relay(engine, bootstrap, testbed.prefix, QUICK):
            await process_some(testbed, engine, workers)

            port = await broker.leave()
            if old_address == "is silent":
                await stack.enter_async_context(silent_server(port))
            await broker.arrive()
            proxy.target, testbed.broker = (LOOPBACK, broker.port), broker.address
            await process_some(testbed, engine, workers)
            sent = await read_records(broker.address, [testbed.prefix + topics.SLOT_ASSIGNED])

        await testbed.end()
        await delete_topics(broker.address, [testbed.prefix + plan.topic for plan in TOPICS])
    assert [one.key for one in sent] == [b"batch", b"batch"]
    assert max(testbed.log_lengths()) < MOST_LOG_LINES


@pytest.mark.long
async def test_a_client_finds_a_broker_at_its_old_address_without_a_rebalance(
    testbed: ConsumerTestbed, servers: EmbeddedServers, server_settings: Settings
) -> None:
    async with moved_broker(servers.kafka, server_settings.state_dir) as broker:
        worker = testbed.start(session_timeout_seconds=30)
        await testbed.produce(SOME)
        await testbed.all_processed_once()
        await testbed.ready(worker)

        port = await broker.leave()
        await testbed.until(lambda: testbed.has_code(worker, "consumer_failing"), 30)
        await broker.arrive(port)
        await testbed.produce(SOME)
        await testbed.all_processed_once()
        await testbed.ready(worker)

    assert "is replaced by a new one" not in testbed.log()


async def process_some(testbed: ConsumerTestbed, engine: AsyncEngine, workers: list[EffectsWorkerProcess]) -> None:
    """Send records and commit an event; wait until all are processed and published, and all workers ready."""
    await testbed.produce(SOME)
    await commit(engine, [row("batch", testbed.sent)])
    await testbed.all_processed_once()
    for worker in workers:
        await testbed.ready(worker)
    await wait_until_empty(engine)

"""Brokers that come back at other addresses: the bootstrap address leads to them."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.config.settings import Settings
from els_stream.embedded.servers import EmbeddedServers
from els_stream.events import topics
from els_stream.kafka.topics import TOPICS, delete_topics, ensure_topics
from tests.support.consumer_testbed import ConsumerTestbed
from tests.support.moved_broker import moved_broker
from tests.support.outbox_rows import commit, row, wait_until_empty
from tests.support.relays import PARTITIONS, QUICK, read_records, running_relay
from tests.support.tcp_forwarder import forwarder

SOME = [f"record {number}" for number in range(300)]
MOST_LOG_LINES = 150


async def test_consumers_and_relay_find_a_broker_that_came_back_at_another_address(
    testbed: ConsumerTestbed, servers: EmbeddedServers, server_settings: Settings, engine: AsyncEngine
) -> None:
    async with moved_broker(servers.kafka, server_settings.state_dir) as broker, forwarder(broker.port) as bootstrap:
        await ensure_topics(broker.address, testbed.prefix, partitions=PARTITIONS)
        first, second = [testbed.start(broker_url=bootstrap.address) for _ in range(2)]
        async with running_relay(engine, bootstrap.address, testbed.prefix, QUICK):
            await testbed.produce(SOME)
            await commit(engine, [row("batch", 1)])
            await testbed.all_processed_once()
            for worker in (first, second):
                await testbed.ready(worker)

            await broker.move()
            bootstrap.target, testbed.broker = broker.port, broker.address
            await testbed.produce(SOME)
            await commit(engine, [row("batch", 2)])
            await testbed.all_processed_once()
            for worker in (first, second):
                await testbed.ready(worker)
            await wait_until_empty(engine)
            sent = await read_records(broker.address, [testbed.prefix + topics.SLOT_ASSIGNED])

        await testbed.end()
        await delete_topics(broker.address, [testbed.prefix + plan.topic for plan in TOPICS])
    assert [one.key for one in sent] == [b"batch", b"batch"]
    assert max(testbed.log_lengths()) < MOST_LOG_LINES

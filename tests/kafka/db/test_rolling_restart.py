"""Workers are replaced one by one under traffic, as the Deployment of deploy/kubernetes does it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from els_stream.embedded.servers import Addresses
from els_stream.events.headers import Headers
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED, SLOT_ASSIGNED
from els_stream.kafka.topics import TOPICS, delete_topics, ensure_topics
from tests.support import factories
from tests.support.worker_process import Worker, running_worker

# Only a worker that leaves the group when it stops is replaced sooner than this.
SESSION_TIMEOUT_SECONDS: Final = 30
MOST_SECONDS: Final = 15
SLOTS: Final = 2000
PACE_SECONDS: Final = 0.02


@pytest.fixture
async def kafka_topics(addresses: Addresses, topic_prefix: str) -> AsyncIterator[dict[str, str]]:
    """Topics of one partition each, so that every further worker has none."""
    names = {plan.topic: topic_prefix + plan.topic for plan in TOPICS}
    await ensure_topics(addresses.broker, topic_prefix, partitions=1)
    yield names
    await delete_topics(addresses.broker, list(names.values()))


class Traffic:
    """Sends contents of one batch until it is stopped, and remembers when."""

    def __init__(self, addresses: Addresses, topic_prefix: str) -> None:
        self._addresses, self._prefix = addresses, topic_prefix
        self._stopped = asyncio.Event()
        self.sent: dict[str, int] = {}

    async def run(self) -> None:
        async with AIOKafkaProducer(bootstrap_servers=self._addresses.broker) as producer:
            registration = factories.registration(essays=SLOTS)
            await producer.send_and_wait(self._prefix + BATCH_REGISTERED, registration)
            for number in range(SLOTS):
                if self._stopped.is_set():
                    return
                content = factories.content(number=number)
                sent = await producer.send_and_wait(self._prefix + CONTENT_PROVISIONED, content)
                assert sent.timestamp is not None
                self.sent[str(factories.content_data(number=number)["text_storage_id"])] = sent.timestamp
                with suppress(TimeoutError):  # the pace of the traffic, until it is stopped
                    await asyncio.wait_for(self._stopped.wait(), PACE_SECONDS)

    def stop(self) -> None:
        self._stopped.set()


async def published(addresses: Addresses, topic: str, count: int) -> list[tuple[Headers, int, bytes]]:
    """Return headers, timestamps and values of all records, once there are as many."""
    found: list[tuple[Headers, int, bytes]] = []
    async with AIOKafkaConsumer(topic, bootstrap_servers=addresses.broker, auto_offset_reset="earliest") as consumer:
        async with asyncio.timeout(60):
            while len(found) < count:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    found += [(tuple(record.headers), record.timestamp, record.value or b"") for record in records]
    return found


async def stop(worker: Worker) -> None:
    worker.process.terminate()
    assert await asyncio.wait_for(worker.process.wait(), 10) == 0


async def test_workers_are_replaced_one_by_one_under_traffic(
    addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str], tmp_path: Path
) -> None:
    """Nothing is doubled, and no content waits for the session of a worker that has ended."""
    traffic = Traffic(addresses, topic_prefix)
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        workers: list[Worker] = []

        async def add_worker() -> None:
            """Start a worker and wait until it is ready: with a partition only if no other has it."""
            log = tmp_path / f"worker-{len(workers)}.log"
            started = running_worker(
                addresses, database, topic_prefix, log, ELS_SESSION_TIMEOUT_SECONDS=str(SESSION_TIMEOUT_SECONDS)
            )
            workers.append(await stack.enter_async_context(started))

        await add_worker()
        sending = tasks.create_task(traffic.run())
        for _ in range(2):
            await add_worker()
            surge = workers[-1]
            assert await surge.metric("els_lag_records", topic=CONTENT_PROVISIONED, partition="0") is None
            assert await workers[-2].ready(), "a worker that has its partitions is ready while another one joins"
            await stop(workers[-2])
        traffic.stop()
        await sending  # a content that is being sent still counts
        found = await published(addresses, kafka_topics[SLOT_ASSIGNED], len(traffic.sent))

    ids = Counter(dict(headers)["ce_id"] for headers, _, _ in found)
    assert len(found) == len(traffic.sent) == len(ids)
    published_at = {str(json.loads(value)["data"]["text_storage_id"]): timestamp for _, timestamp, value in found}
    delays = {text: published_at[text] - sent for text, sent in traffic.sent.items()}
    assert max(delays.values()) < MOST_SECONDS * 1000

"""A tracing collector that accepts connections and never answers delays no exit, and the spans it cost are counted."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterable
from pathlib import Path

from aiokafka import AIOKafkaProducer

from els_stream.embedded.servers import Addresses
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED
from tests.support import factories
from tests.support.silent_server import silent_server
from tests.support.worker_process import Worker, running_worker, send, until

# More spans than one export takes: without a limit each export would delay the exit by its own time limit.
CONTENTS = 1100


async def test_a_worker_exits_with_zero_and_logs_how_many_spans_it_gave_up(
    addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str], tmp_path: Path
) -> None:
    """The thread of the exports must not keep the process alive until the forced exit, which has code 70."""
    log = tmp_path / "worker.log"
    contents = [factories.content(number=number) for number in range(CONTENTS)]

    async with silent_server() as collector:
        tracing = {"ELS_TRACING_ENDPOINT": f"http://{collector}/v1/traces", "ELS_LOG_FORMAT": "json"}
        async with running_worker(addresses, database, topic_prefix, log, **tracing) as worker:
            await send(addresses, topic_prefix, (BATCH_REGISTERED, factories.registration(essays=CONTENTS)))
            await until(lambda: counted(worker, 1, topic=BATCH_REGISTERED, outcome="registered"))
            await send_all(addresses, kafka_topics[CONTENT_PROVISIONED], contents)
            await until(lambda: counted(worker, CONTENTS, topic=CONTENT_PROVISIONED, outcome="assigned"))
            assert await worker.metric("els_spans_given_up_total") is not None
            worker.process.send_signal(signal.SIGTERM)
            assert await worker.process.wait() == 0

    (spans,) = [line["spans"] for line in map(json.loads, lines(log)) if line["event"] == "spans_given_up"]
    assert spans >= 1 + CONTENTS


async def send_all(addresses: Addresses, topic: str, values: Iterable[bytes]) -> None:
    """Send them together, so that their spans wait for the export at the same time."""
    async with AIOKafkaProducer(bootstrap_servers=addresses.broker) as producer:
        await asyncio.gather(*[await producer.send(topic, value) for value in values])


def lines(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if line.startswith("{")]


async def counted(worker: Worker, events: int, **labels: str) -> bool:
    return await worker.metric("els_events_total", **labels) == events

"""Latency from the producer's timestamp of a content until a consumer receives its slot, at a steady rate."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from els_stream.config.settings import Settings
from els_stream.demo.workers import running_workers
from els_stream.events.topics import CONTENT_PROVISIONED, SLOT_ASSIGNED
from tests.benchmarks import runs
from tests.benchmarks.environment import PARTITIONS, BenchmarkEnvironment
from tests.benchmarks.load import Content, Load
from tests.benchmarks.preload import preloaded
from tests.benchmarks.report import Figure, Scale, Section, percentile

SECONDS: Final = {Scale.QUICK: 8.0, Scale.FULL: 20.0}
# At the start connections and query plans are new.
WARM_UP_SECONDS: Final = 2.0
PEAK: Final = {Scale.QUICK: Load(600), Scale.FULL: Load(1000)}
STEADY: Final = 100.0
TICK_SECONDS: Final = 0.005
SHARES: Final = {"p50": 0.5, "p99": 0.99, "max": 1.0}
PLOTTED: Final = 200


@dataclass(slots=True)
class Notes:
    """The times at which each content was sent and its assignment was received, by correlation id.

    `late` are the seconds by which the sender woke too late, because of other load on the machine.
    """

    sent: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    late: list[float] = field(default_factory=list)

    def milliseconds(self, warm_up: float) -> list[float]:
        """Return the latencies of contents sent after the warm-up, in order."""
        begin = min(self.sent.values()) + warm_up
        return [(self.seen[it] - at) * 1000 for it, at in self.sent.items() if at >= begin]


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    yield await _at(env, scale, STEADY, "100/s", "latency_at_100")
    peak = await _peak(env, scale)
    yield await _at(env, scale, peak / 2, f"half of the peak, {peak / 2:,.0f}/s", "latency_at_half_peak")


async def _at(env: BenchmarkEnvironment, scale: Scale, rate: float, title: str, name: str) -> Section:
    load = Load(round(rate * SECONDS[scale] / 30))
    async with env.worker_settings() as settings:
        await runs.register(settings, load)
        async with running_workers(settings, 1):
            notes = await _send_and_see(settings, load, rate)
    took = notes.milliseconds(WARM_UP_SECONDS)
    figures = [
        *(Figure(percent, percentile(took, share), "ms") for percent, share in SHARES.items()),
        Figure("p99 of how late the sender itself woke", percentile(notes.late, 0.99) * 1000, "ms"),
    ]
    curve = [percentile(took, number / PLOTTED) for number in range(1, PLOTTED + 1)]
    return Section(f"Latency in to out at {title}, {len(took):,} essays", figures, series={name: curve})


async def _peak(env: BenchmarkEnvironment, scale: Scale) -> float:
    """Return how many contents per second one worker handles on this machine."""
    load = PEAK[scale]
    async with env.worker_settings() as settings:
        topic = settings.topic_prefix + CONTENT_PROVISIONED
        async with preloaded(env.broker, topic, load.sent()) as release:
            await runs.register(settings, load)
            return (await runs.service(env, settings, load, release)).rate


async def _send_and_see(settings: Settings, load: Load, rate: float) -> Notes:
    notes = Notes()
    consumer = AIOKafkaConsumer(bootstrap_servers=str(settings.broker))
    consumer.assign([TopicPartition(settings.topic_prefix + SLOT_ASSIGNED, number) for number in range(PARTITIONS)])
    producer = AIOKafkaProducer(bootstrap_servers=str(settings.broker))
    async with consumer, producer:
        await consumer.seek_to_beginning()
        async with asyncio.timeout(runs.MAX_WAIT_SECONDS), asyncio.TaskGroup() as together:
            together.create_task(_send(producer, settings.topic_prefix + CONTENT_PROVISIONED, load.sent(), rate, notes))
            together.create_task(_see(consumer, load.contents, notes))
    return notes


async def _send(producer: AIOKafkaProducer, topic: str, contents: Iterator[Content], rate: float, notes: Notes) -> None:
    """Send contents by the clock, without waiting for earlier ones."""
    started, sent = time.monotonic(), 0
    while True:
        due = round((time.monotonic() - started) * rate) - sent
        batch = list(islice(contents, max(0, due)))
        if due > 0 and not batch:
            return
        for key, value in batch:
            now = time.time()
            notes.sent[_correlation(value)] = now
            await producer.send(topic, value, key, timestamp_ms=int(now * 1000))
        sent += len(batch)
        asleep = time.monotonic()
        await asyncio.sleep(TICK_SECONDS)
        notes.late.append(time.monotonic() - asleep - TICK_SECONDS)


async def _see(consumer: AIOKafkaConsumer, count: int, notes: Notes) -> None:
    while len(notes.seen) < count:
        records = await consumer.getmany(timeout_ms=1000)
        now = time.time()
        for of_partition in records.values():
            for record in of_partition:
                notes.seen.setdefault(_correlation(record.value or b""), now)


def _correlation(value: bytes) -> str:
    envelope: Mapping[str, object] = json.loads(value)
    return str(envelope["correlation_id"])

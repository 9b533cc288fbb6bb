"""Latency from the timestamp of a content to the time at which the broker appended its slot, at a steady rate.

Both times are read from Kafka after the run, so that reading takes no CPU time from the workers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from els_stream.config.settings import Settings
from els_stream.demo.workers import running_workers
from els_stream.events.topics import CONTENT_PROVISIONED, SLOT_ASSIGNED
from tests.benchmarks import runs
from tests.benchmarks.environment import APPEND_TIMES, PARTITIONS, BenchmarkEnvironment
from tests.benchmarks.load import Content, Load
from tests.benchmarks.preload import preloaded
from tests.benchmarks.report import Figure, Scale, Section, percentile
from tests.support.waiting import until

SECONDS: Final = {Scale.QUICK: 8.0, Scale.FULL: 20.0}
# At the start connections and query plans are new.
WARM_UP_SECONDS: Final = 2.0
PEAK: Final = {Scale.QUICK: Load(600), Scale.FULL: Load(1000)}
RATES: Final = {Scale.QUICK: (100,), Scale.FULL: (100, 500, 1000, 3000)}
TICK_SECONDS: Final = 0.005
POLL_INTERVAL_SECONDS: Final = 0.5
SHARES: Final = {"p50": 0.5, "p99": 0.99, "max": 1.0}
PLOTTED: Final = 200


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    for rate in RATES[scale]:
        yield await _at(env, scale, rate, f"{rate:,}/s", f"latency_at_{rate}")
    half = await peak(env, scale) / 2
    yield await _at(env, scale, half, f"half of the peak, {half:,.0f}/s", "latency_at_half_peak")


async def _at(env: BenchmarkEnvironment, scale: Scale, rate: float, title: str, name: str) -> Section:
    load = load_of(rate, SECONDS[scale])
    async with env.worker_settings(APPEND_TIMES) as settings:
        await runs.register(settings, load)
        async with running_workers(settings, 1):
            late = await send_at(settings, load, rate)
        took = await latencies(settings)
    figures = [
        *(Figure(percent, percentile(took, share), "ms") for percent, share in SHARES.items()),
        Figure("p99 of how late the sender itself woke", percentile(late, 0.99) * 1000, "ms"),
    ]
    curve = [percentile(took, number / PLOTTED) for number in range(1, PLOTTED + 1)]
    return Section(f"Latency in to out at {title}, {len(took):,} essays", figures, series={name: curve})


async def peak(env: BenchmarkEnvironment, scale: Scale) -> float:
    """Return how many contents per second one worker handles on this machine."""
    load = PEAK[scale]
    async with env.worker_settings() as settings:
        topic = settings.topic_prefix + CONTENT_PROVISIONED
        async with preloaded(env.broker, topic, load.sent()) as release:
            await runs.register(settings, load)
            return (await runs.service(env, settings, load, release)).rate


def load_of(rate: float, seconds: float) -> Load:
    """Return a load that takes so long at this rate."""
    return Load(max(1, round(rate * seconds / 30)))


async def send_at(settings: Settings, load: Load, rate: float) -> list[float]:
    """Send the load at this rate and wait until the broker has a slot's event for each content.

    Return the seconds by which the sender woke too late, because of other load on the machine.
    """
    async with AIOKafkaProducer(bootstrap_servers=str(settings.broker)) as producer:
        late = await _send(producer, settings.topic_prefix + CONTENT_PROVISIONED, load.sent(), rate)
    await until_published(settings, load.contents)
    return late


async def until_published(settings: Settings, contents: int) -> None:
    """Wait until the broker has a slot's event for each content."""
    async with published_count(settings) as published:

        async def all_published() -> bool:
            return await published() >= contents

        await until(all_published, seconds=runs.MAX_WAIT_SECONDS, every=POLL_INTERVAL_SECONDS)


@asynccontextmanager
async def published_count(settings: Settings) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Yield a function that asks the broker how many slots' events it has; copies count."""
    events = _partitions(settings, SLOT_ASSIGNED)
    async with _consumer(settings) as consumer:

        async def published() -> int:
            return sum((await consumer.end_offsets(events)).values())

        yield published


async def latencies(settings: Settings, warm_up: float = WARM_UP_SECONDS) -> list[float]:
    """Return the latencies in milliseconds of the contents that were sent after the warm-up.

    If an event was sent again, its first copy counts.
    """
    async with _consumer(settings) as consumer:
        sent = await _timestamps(consumer, _partitions(settings, CONTENT_PROVISIONED))
        appended = await _timestamps(consumer, _partitions(settings, SLOT_ASSIGNED))
    begin = min(sent.values()) + warm_up * 1000
    return [float(appended[it] - at) for it, at in sent.items() if at >= begin]


def _consumer(settings: Settings) -> AIOKafkaConsumer:
    return AIOKafkaConsumer(bootstrap_servers=str(settings.broker), isolation_level="read_committed")


def _partitions(settings: Settings, topic: str) -> list[TopicPartition]:
    return [TopicPartition(settings.topic_prefix + topic, number) for number in range(PARTITIONS)]


async def _send(producer: AIOKafkaProducer, topic: str, contents: Iterator[Content], rate: float) -> list[float]:
    """Send contents by the clock, without waiting for earlier ones."""
    started, sent = time.monotonic(), 0
    late: list[float] = []
    while True:
        due = round((time.monotonic() - started) * rate) - sent
        batch = list(islice(contents, max(0, due)))
        if due > 0 and not batch:
            return late
        for key, value in batch:
            await producer.send(topic, value, key, timestamp_ms=int(time.time() * 1000))
        sent += len(batch)
        asleep = time.monotonic()
        await asyncio.sleep(TICK_SECONDS)
        late.append(time.monotonic() - asleep - TICK_SECONDS)


async def _timestamps(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[str, int]:
    """Return the lowest timestamp of each correlation id in these partitions."""
    found: dict[str, int] = {}
    consumer.assign(partitions)
    await consumer.seek_to_beginning()
    ends = await consumer.end_offsets(partitions)
    async with asyncio.timeout(runs.MAX_WAIT_SECONDS):
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    key = _correlation(record.value or b"")
                    found[key] = min(record.timestamp, found.get(key, record.timestamp))
    return found


def _correlation(value: bytes) -> str:
    envelope: Mapping[str, object] = json.loads(value)
    return str(envelope["correlation_id"])

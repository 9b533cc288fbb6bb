"""Peak memory of one worker under a backlog: while the broker takes its events, and while it accepts none.

In the second case the contents are handled all the same, and their events wait in the outbox; then the broker accepts
events again, and the worker publishes all of them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from els_stream.db import migration
from els_stream.demo.workers import SERVICE, running_workers
from els_stream.embedded.processes import PROC
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED, OUTPUT_TOPICS
from tests.benchmarks import runs
from tests.benchmarks.environment import ACCEPT_NONE, BenchmarkEnvironment, Migrate
from tests.benchmarks.latency import until_published
from tests.benchmarks.load import Load
from tests.benchmarks.preload import preload, preloaded
from tests.benchmarks.report import Figure, Scale, Section
from tests.support.relays import set_topic_config

LOAD: Final = {Scale.QUICK: Load(800), Scale.FULL: Load(7000)}
SAMPLE_INTERVAL_SECONDS: Final = 0.5
CASES: Final[Mapping[str, Mapping[str, str]]] = {"backlog": {}, "backlog_no_events_accepted": ACCEPT_NONE}


@dataclass(frozen=True, slots=True)
class Program:
    """A worker's program and its migration: this checkout's, or another revision's."""

    migrate: Migrate = migration.upgrade
    worker: Sequence[str] = SERVICE
    python: str = sys.executable


THIS: Final = Program()


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    load = LOAD[scale]
    sampled = {f"memory_{name}": await samples(env, load, config) for name, config in CASES.items()}
    figures = [
        Figure(f"peak of one worker: {name[7:].replace('_', ' ')}", max(s), "MiB") for name, s in sampled.items()
    ]
    yield Section(f"Memory, {load.contents:,} contents", figures, series=sampled)


async def samples(
    env: BenchmarkEnvironment, load: Load, events: Mapping[str, str], program: Program = THIS
) -> list[float]:
    """Return the worker's peak memory so far, in MiB, at an interval, until all events are published.

    `events` is the configuration of their topics until all contents are handled.
    """
    async with env.worker_settings(events, migrate=program.migrate) as settings:
        registrations = [(one.key, one.value or b"") for one in load.registrations()]
        topic = settings.topic_prefix + CONTENT_PROVISIONED
        async with preloaded(env.broker, topic, load.sent()) as release:
            await preload(env.broker, settings.topic_prefix + BATCH_REGISTERED, registrations)
            async with (
                running_workers(settings, 1, program.worker, python=program.python) as [worker],
                _sampled(worker.process.pid) as seen,
            ):
                await runs.until_handled(settings, settings.topic_prefix + BATCH_REGISTERED, len(registrations))
                await release()
                await runs.until_handled(settings, topic, load.contents)
                if events:
                    for name in OUTPUT_TOPICS:
                        await set_topic_config(env.broker, settings.topic_prefix + name)
                await until_published(settings, load.contents)
        return seen


@asynccontextmanager
async def _sampled(pid: int) -> AsyncIterator[list[float]]:
    """Yield a list that grows by the process's peak memory, in MiB, at an interval and at the end of the block."""
    seen: list[float] = []

    async def sample() -> None:
        while True:
            seen.append(_peak(pid))
            await asyncio.sleep(SAMPLE_INTERVAL_SECONDS)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(sample())
        yield seen
        task.cancel()
        seen.append(_peak(pid))


def _peak(pid: int) -> float:
    """Return the largest resident size that the process has had, in MiB (VmHWM of proc(5))."""
    status = (PROC / str(pid) / "status").read_text()
    return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) / 1024

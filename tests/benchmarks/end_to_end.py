"""Compares the whole service, from Kafka to Kafka, with stock Faust that does nothing.

Stock Faust is measured before each run of ours, so that other load on the machine affects both. With a backlog its
back-pressure pauses it for a second at a time, at random: single runs vary by up to 50 %. So it reads a topic that has
more records than are timed, and the baseline is the median of its runs so far.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Final

from els_stream.events.topics import CONTENT_PROVISIONED
from tests.benchmarks import runs
from tests.benchmarks.environment import BenchmarkEnvironment
from tests.benchmarks.load import Load
from tests.benchmarks.preload import preload, preloaded
from tests.benchmarks.report import Figure, Scale, Section
from tests.benchmarks.runs import Run
from tests.benchmarks.stock_faust import WITHOUT_LEADER

STOCK_RECORDS: Final = {Scale.QUICK: 30_000, Scale.FULL: 60_000}
BACKLOG: Final = {Scale.QUICK: Load(2000), Scale.FULL: Load(3000)}
WARM: Final = Load(2000)
NOOP: Final = {Scale.QUICK: Load(2000), Scale.FULL: Load(6000)}
RATE: Final = "contents/s"
EACH: Final = "µs CPU/content"


@dataclass(frozen=True, slots=True)
class Case:
    """A load to measure; `suffix` is appended to the names of its ratios."""

    title: str
    suffix: str
    load: Load
    teams: tuple[int, ...] = (1,)
    rounds: int = 1


QUICK: Final = (Case("1,000 batches of 30", "", Load(1000), (1, 2)),)
FULL: Final = (
    Case("1,000 batches of 30", "", Load(1000), (1, 2), rounds=3),
    Case("10,000 batches of 30", "_10000_batches", Load(10_000), (1, 2)),
    Case("1,000 batches of 30, without keys", "_unkeyed", Load(1000, keyed=False)),
    Case("1,000 batches of 30, every tenth twice", "_repeats", Load(1000, repeat_every=10)),
    Case("250 batches of 120", "_batches_of_120", Load(250, 120)),
    Case("one batch of 10,000", "_hot_batch", Load(1, 10_000)),
)


@dataclass(slots=True)
class Baseline:
    """Stock Faust on the first records of a longer topic; `seen` are its runs so far."""

    broker: str
    topic: str
    records: int
    seen: list[Run] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return median(run.rate for run in self.seen)

    async def measure(self) -> None:
        self.seen.append(await runs.stock_faust(self.broker, self.topic, self.records))

    async def without_leader(self) -> Run:
        return await runs.stock_faust(self.broker, self.topic, self.records, WITHOUT_LEADER)

    def ratio(self, ours: Sequence[Run]) -> float:
        return median(run.rate for run in ours) / self.rate

    def figures(self) -> list[Figure]:
        count = f"of {len(self.seen)} runs"
        return [
            Figure(f"stock Faust doing nothing, median {count}", self.rate, RATE),
            Figure(f"stock Faust doing nothing, slowest {count}", min(run.rate for run in self.seen), RATE),
            Figure(f"stock Faust doing nothing, fastest {count}", max(run.rate for run in self.seen), RATE),
            Figure("stock Faust doing nothing", fmean(run.cpu_each("stock") for run in self.seen), EACH),
        ]


@asynccontextmanager
async def backlog(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Baseline]:
    async with env.topics() as prefix:
        topic = prefix + CONTENT_PROVISIONED
        await preload(env.broker, topic, BACKLOG[scale].sent())
        yield Baseline(env.broker, topic, STOCK_RECORDS[scale])


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    async with backlog(env, scale) as baseline:
        await _run(env, baseline, WARM, workers=2)  # a broker that just started is still being compiled
        yield await _empty_loop(env, baseline, scale)
        for case in QUICK if scale is Scale.QUICK else FULL:
            yield await _whole(env, baseline, case)


async def _empty_loop(env: BenchmarkEnvironment, baseline: Baseline, scale: Scale) -> Section:
    rounds = 1 if scale is Scale.QUICK else 3
    ours = [await _run(env, baseline, NOOP[scale], workers=0) for _ in range(rounds)]
    figures = [
        *baseline.figures(),
        Figure("the same without its leader topic", (await baseline.without_leader()).rate, RATE),
        Figure("our consumer doing nothing", median(run.rate for run in ours), RATE),
    ]
    ratios = {"intake_noop_vs_stock_faust_noop": baseline.ratio(ours)}
    return Section(f"Intake alone, {NOOP[scale].contents:,} contents", figures, ratios)


async def _whole(env: BenchmarkEnvironment, baseline: Baseline, case: Case) -> Section:
    ours: dict[int, list[Run]] = {workers: [] for workers in case.teams}
    for _ in range(case.rounds):
        for workers in case.teams:
            ours[workers].append(await _run(env, baseline, case.load, workers=workers))
    figures = baseline.figures()
    ratios: dict[str, float] = {}
    for workers, of_team in ours.items():
        several = f"_{workers}_workers" if workers > 1 else ""
        ratios[f"end_to_end{several}_vs_stock_faust_noop{case.suffix}"] = baseline.ratio(of_team)
        figures += _figures(workers, of_team)
    return Section(f"End to end, {case.title}", figures, ratios)


def _figures(workers: int, ours: Sequence[Run]) -> list[Figure]:
    team = "one worker" if workers == 1 else f"{workers} workers"
    return [
        Figure(f"the whole service, {team}", median(run.rate for run in ours), RATE),
        *(Figure(f"{team}: {name}", fmean(run.cpu_each(name) for run in ours), EACH) for name in ours[0].cpu),
    ]


async def _run(env: BenchmarkEnvironment, baseline: Baseline, load: Load, *, workers: int) -> Run:
    """Measure stock Faust, then ours; without workers: the no-op worker."""
    await baseline.measure()
    async with env.worker_settings() as settings:
        topic = settings.topic_prefix + CONTENT_PROVISIONED
        async with preloaded(env.broker, topic, load.sent()) as release:
            if not workers:
                return await runs.noop_worker(settings, load, release)
            await runs.register(settings, load)
            return await runs.service(env, settings, load, release, count=workers)

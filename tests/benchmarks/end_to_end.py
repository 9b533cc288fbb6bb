"""The whole service, Kafka to Kafka, against stock Faust that does nothing with such records.

Stock Faust is measured before each run of ours, and each ratio is of neighbours. It has a topic of its own, longer than
what it is timed on: under a backlog its back-pressure makes it pause, for a second at a time, and how often it does in
the last few thousand records of a topic is chance.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from els_stream.contracts.topics import CONTENT_PROVISIONED
from tests.benchmarks import runs
from tests.benchmarks.ground import Ground
from tests.benchmarks.load import Load
from tests.benchmarks.preload import preload, preloaded
from tests.benchmarks.report import Figure, Scale, Section, paired_ratio
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
    """`suffix` is put behind the names of its ratios."""

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


@dataclass(frozen=True, slots=True)
class Yardstick:
    """Stock Faust on the first records of a topic that has more."""

    broker: str
    topic: str
    records: int

    async def measure(self, *variant: str) -> Run:
        return await runs.stock_faust(self.broker, self.topic, self.records, *variant)


@asynccontextmanager
async def backlog(ground: Ground, scale: Scale) -> AsyncIterator[Yardstick]:
    async with ground.topics() as prefix:
        topic = prefix + CONTENT_PROVISIONED
        await preload(ground.broker, topic, BACKLOG[scale].sent())
        yield Yardstick(ground.broker, topic, STOCK_RECORDS[scale])


async def measure(ground: Ground, scale: Scale) -> AsyncIterator[Section]:
    async with backlog(ground, scale) as yardstick:
        await _pair(ground, yardstick, WARM, workers=2)  # a broker that just started is still being compiled
        yield await _lane(ground, yardstick, scale)
        for case in QUICK if scale is Scale.QUICK else FULL:
            yield await _whole(ground, yardstick, case)


async def _lane(ground: Ground, yardstick: Yardstick, scale: Scale) -> Section:
    pairs = [await _pair(ground, yardstick, NOOP[scale], workers=0) for _ in range(1 if scale is Scale.QUICK else 3)]
    theirs, ours = _rates(pairs)
    figures = [
        Figure("stock Faust doing nothing", max(theirs), RATE),
        Figure("the same without its leader topic", (await yardstick.measure(WITHOUT_LEADER)).rate, RATE),
        Figure("our lane doing nothing", max(ours), RATE),
    ]
    ratios = {"intake_noop_vs_stock_faust_noop": paired_ratio(ours, theirs)}
    return Section(f"Intake alone, {NOOP[scale].contents:,} contents", figures, ratios)


async def _whole(ground: Ground, yardstick: Yardstick, case: Case) -> Section:
    pairs: dict[int, list[tuple[Run, Run]]] = {workers: [] for workers in case.teams}
    for _ in range(case.rounds):
        for workers in case.teams:
            pairs[workers].append(await _pair(ground, yardstick, case.load, workers=workers))
    stock = [run for of_team in pairs.values() for run, _ in of_team]
    figures = [
        Figure("stock Faust doing nothing", max(run.rate for run in stock), RATE),
        Figure("stock Faust doing nothing", fmean(run.cpu_each("stock") for run in stock), EACH),
    ]
    ratios: dict[str, float] = {}
    for workers, of_team in pairs.items():
        several = f"_{workers}_workers" if workers > 1 else ""
        ratios[f"end_to_end{several}_vs_stock_faust_noop{case.suffix}"] = paired_ratio(*reversed(_rates(of_team)))
        figures += _figures(workers, [ours for _, ours in of_team])
    return Section(f"End to end, {case.title}", figures, ratios)


def _figures(workers: int, ours: Sequence[Run]) -> list[Figure]:
    team = "one worker" if workers == 1 else f"{workers} workers"
    return [
        Figure(f"the whole service, {team}", max(run.rate for run in ours), RATE),
        *(Figure(f"{team}: {name}", fmean(run.cpu_each(name) for run in ours), EACH) for name in ours[0].cpu),
    ]


async def _pair(ground: Ground, yardstick: Yardstick, load: Load, *, workers: int) -> tuple[Run, Run]:
    """Stock Faust, then ours; no workers: the lane alone."""
    stock = await yardstick.measure()
    async with ground.place() as settings:
        topic = settings.topic_prefix + CONTENT_PROVISIONED
        async with preloaded(ground.broker, topic, load.sent()) as release:
            if not workers:
                return stock, await runs.lane_alone(settings, load, release)
            await runs.register(settings, load)
            return stock, await runs.service(ground, settings, load, release, count=workers)


def _rates(pairs: Sequence[tuple[Run, Run]]) -> tuple[list[float], list[float]]:
    return [stock.rate for stock, _ in pairs], [ours.rate for _, ours in pairs]

"""The whole service, Kafka to Kafka, against stock Faust that does nothing with the same records.

Stock Faust is measured before each run of ours, on the same topic, and each ratio is of neighbours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from els_stream.contracts.topics import CONTENT_PROVISIONED
from tests.benchmarks import runs
from tests.benchmarks.ground import Ground
from tests.benchmarks.load import Load
from tests.benchmarks.preload import preloaded
from tests.benchmarks.report import Figure, Scale, Section, paired_ratio
from tests.benchmarks.runs import Run
from tests.benchmarks.stock_faust import WITHOUT_LEADER

STOCK_RECORDS: Final = {Scale.QUICK: 15_000, Scale.FULL: 30_000}
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


async def measure(ground: Ground, scale: Scale) -> AsyncIterator[Section]:
    await _pair(ground, scale, WARM, workers=2)  # a broker that just started is still being compiled
    yield await _lane(ground, scale)
    for case in QUICK if scale is Scale.QUICK else FULL:
        yield await _whole(ground, scale, case)


async def _lane(ground: Ground, scale: Scale) -> Section:
    rounds = 1 if scale is Scale.QUICK else 3
    pairs = [await _pair(ground, scale, NOOP[scale], workers=0) for _ in range(rounds)]
    stock, ours = _rates(pairs)
    figures = [
        Figure("stock Faust doing nothing", max(stock), RATE),
        Figure("the same without its leader topic", await _without_leader(ground, scale), RATE),
        Figure("our lane doing nothing", max(ours), RATE),
    ]
    ratios = {"intake_noop_vs_stock_faust_noop": paired_ratio(ours, stock)}
    return Section(f"Intake alone, {NOOP[scale].contents:,} contents", figures, ratios)


async def _without_leader(ground: Ground, scale: Scale) -> float:
    async with ground.place() as settings:
        topic = settings.topic_prefix + CONTENT_PROVISIONED
        async with preloaded(ground.broker, topic, NOOP[scale].sent()):
            run = await runs.stock_faust(ground.broker, topic, STOCK_RECORDS[scale], WITHOUT_LEADER)
    return run.rate


async def _whole(ground: Ground, scale: Scale, case: Case) -> Section:
    pairs: dict[int, list[tuple[Run, Run]]] = {workers: [] for workers in case.teams}
    for _ in range(case.rounds):
        for workers in case.teams:
            pairs[workers].append(await _pair(ground, scale, case.load, workers=workers))
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


async def _pair(ground: Ground, scale: Scale, load: Load, *, workers: int) -> tuple[Run, Run]:
    """Stock Faust, then ours, on the same records; no workers: the lane alone."""
    async with ground.place() as settings:
        topic = settings.topic_prefix + CONTENT_PROVISIONED
        async with preloaded(ground.broker, topic, load.sent()) as release:
            stock = await runs.stock_faust(ground.broker, topic, min(load.contents, STOCK_RECORDS[scale]))
            if not workers:
                return stock, await runs.lane_alone(settings, load, release)
            await runs.register(settings, load)
            return stock, await runs.service(ground, settings, load, release, count=workers)


def _rates(pairs: Sequence[tuple[Run, Run]]) -> tuple[list[float], list[float]]:
    return [stock.rate for stock, _ in pairs], [ours.rate for _, ours in pairs]

"""The scenario of the seed project with high concurrency: twice as many contents as slots of one batch, all at once.

Three instances share the work, each with its own engine and pool. There are two ways to claim:

- as the consumer does: an instance takes the contents that have arrived when it is free, and claims their slots in one
  transaction. These figures must be within AIMED.
- one by one: each content in its own transaction, all competing; no worker does this. These must be within ASKED.

The time of an assignment is from the arrival of all contents to the commit of its transaction. The average is that of
the median round, so that a stall of the disk in one round does not count. P95 is over all rounds.

`python -m tests.benchmarks.seeds` prints the figures and exits with 1 if a limit is exceeded.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Final, TypeAlias

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db.engine import Limits, create_engine
from els_stream.domain.claim_strategy import Strategy
from els_stream.events import topics
from els_stream.events.records import RawRecord
from tests.benchmarks.environment import BenchmarkEnvironment, for_sqlalchemy
from tests.benchmarks.report import Figure, Scale, Section, percentile
from tests.benchmarks.thresholds import run_with_thresholds
from tests.support import factories as make
from tests.support.batch_harness import handlers_by_topic

INSTANCES: Final = 3
POOL: Final = 4
ESSAYS: Final = 20
ROUNDS: Final = {Scale.QUICK: 20, Scale.FULL: 60}
WARM_UP: Final = 5

ASKED: Final = {"average": 200.0, "P95": 500.0}
AIMED: Final = {"average": 10.0, "P95": 25.0}

Rounds = list[list[float]]
"""The seconds of each assignment, by round."""


@dataclass
class Instance:
    engine: AsyncEngine
    strategy: Strategy
    waiting: list[tuple[RawRecord, asyncio.Future[str]]] = field(default_factory=list)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.handlers = handlers_by_topic(strategy=self.strategy)

    async def register(self, batch_id: str) -> None:
        await self._apply([make.record(topics.BATCH_REGISTERED, make.registration(batch_id, essays=ESSAYS))])

    async def alone(self, record: RawRecord) -> str:
        return (await self._apply([record]))[0]

    def with_others(self, record: RawRecord) -> Awaitable[str]:
        """Claim together with the other contents that have arrived when this instance is free."""
        mine: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.waiting.append((record, mine))
        return self._answered(mine)

    async def _answered(self, mine: asyncio.Future[str]) -> str:
        async with self.busy:
            taken, self.waiting = self.waiting, []
            if taken:
                labels = await self._apply([record for record, _ in taken])
                for (_, future), label in zip(taken, labels, strict=True):
                    future.set_result(label)
        return await mine

    async def _apply(self, records: Sequence[RawRecord]) -> list[str]:
        handler = self.handlers[records[0].topic]
        decoded = handler.decode(records)
        async with self.engine.begin() as conn:
            return [outcome.label for outcome in await handler.apply(conn, await handler.lock(conn, decoded))]


Ask: TypeAlias = Callable[[Instance, RawRecord], Awaitable[str]]
WAYS: Final[dict[str, Ask]] = {
    "as the intake does": Instance.with_others,
    "one by one": Instance.alone,
}


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    async with env.database() as url, _instances(url) as instances:
        for way, ask in WAYS.items():
            measured: dict[Strategy, Rounds] = {strategy: [] for strategy in Strategy}
            for number in range(ROUNDS[scale] + WARM_UP):
                for strategy in Strategy:  # in turns: what else the machine does, it does to all of them
                    latencies = await _round(instances[strategy], f"{way} {strategy} {number}", ask)
                    measured[strategy] += [latencies] if number >= WARM_UP else []
            figures = [f for strategy in Strategy for f in _figures(strategy, measured[strategy])]
            title = f"{2 * ESSAYS} contents for {ESSAYS} essays, {INSTANCES} instances, {way}"
            yield Section(title, figures, dict(_b_against_a(way.replace(" ", "_"), measured)))


def complaints(sections: Sequence[Section]) -> Iterator[str]:
    """Yield the exceeded limits. `B no slower than A` allows 5 %, as ratios of runs vary by that."""
    for section, limits in zip(sections, (AIMED, ASKED), strict=True):
        for figure in section.figures:
            strategy, _, what = figure.name.partition(", ")
            limit = (limits if strategy == Strategy.OPTION_B else ASKED)[what]
            if figure.value >= limit:
                yield f"{section.title}: {figure.name} is {figure.value:.1f} ms, not below {limit:.0f}"
        yield from (f"{name} is {ratio:.2f}" for name, ratio in section.ratios.items() if ratio > 1.05)


def _average(rounds: Rounds) -> float:
    return median(map(fmean, rounds))


def _p95(rounds: Rounds) -> float:
    return percentile([latency for latencies in rounds for latency in latencies], 0.95)


def _figures(strategy: Strategy, rounds: Rounds) -> Iterator[Figure]:
    yield Figure(f"{strategy}, average", 1000 * _average(rounds), "ms")
    yield Figure(f"{strategy}, P95", 1000 * _p95(rounds), "ms")


def _b_against_a(way: str, measured: dict[Strategy, Rounds]) -> Iterator[tuple[str, float]]:
    a, b = measured[Strategy.OPTION_A], measured[Strategy.OPTION_B]
    yield f"option_b_vs_option_a_average_{way}", _average(b) / _average(a)
    yield f"option_b_vs_option_a_p95_{way}", _p95(b) / _p95(a)


async def _round(instances: Sequence[Instance], batch_id: str, ask: Ask) -> list[float]:
    await instances[0].register(batch_id)
    contents = [make.record(topics.CONTENT_PROVISIONED, make.content(batch_id, number=n)) for n in range(2 * ESSAYS)]
    started = time.perf_counter()

    async def assigned_in(asked: Awaitable[str]) -> tuple[str, float]:
        label = await asked
        return label, time.perf_counter() - started

    asked = [ask(instances[number % INSTANCES], record) for number, record in enumerate(contents)]
    assigned = await asyncio.gather(*map(assigned_in, asked))
    labels = Counter(label for label, _ in assigned)
    if labels != {"assigned": ESSAYS, "excess": ESSAYS}:
        raise RuntimeError(f"{labels}: unexpected outcomes")
    return [latency for _, latency in assigned]


@asynccontextmanager
async def _instances(url: str) -> AsyncIterator[dict[Strategy, list[Instance]]]:
    engines = [create_engine(for_sqlalchemy(url), Limits(), pool_size=POOL) for _ in range(INSTANCES)]
    try:
        yield {strategy: [Instance(engine, strategy) for engine in engines] for strategy in Strategy}
    finally:
        for engine in engines:
            await engine.dispose()


if __name__ == "__main__":
    sys.exit(run_with_thresholds(measure, Scale.FULL, complaints))

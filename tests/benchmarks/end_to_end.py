"""The whole service, Kafka to Kafka, against stock Faust that does nothing with the same records.

Stock Faust is measured before each run of ours, on the same topic, and each ratio is of neighbours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from els_stream.contracts.topics import CONTENT_PROVISIONED
from tests.benchmarks import runs
from tests.benchmarks.ground import Ground
from tests.benchmarks.load import Load
from tests.benchmarks.preload import preloaded
from tests.benchmarks.report import Figure, Scale, Section, paired_ratio
from tests.benchmarks.runs import Run

STOCK_RECORDS = {Scale.QUICK: 15_000, Scale.FULL: 30_000}
NOOP_BATCHES = {Scale.QUICK: 3000, Scale.FULL: 6000}
ROUNDS = {Scale.QUICK: 2, Scale.FULL: 3}
RATE = "contents/s"


async def measure(ground: Ground, scale: Scale) -> AsyncIterator[Section]:
    yield await _intake(ground, scale)
    yield await _whole(ground, scale)


async def _intake(ground: Ground, scale: Scale) -> Section:
    load = Load(NOOP_BATCHES[scale])
    pairs = [await _pair(ground, scale, load, workers=0) for _ in range(ROUNDS[scale])]
    stock, ours = _rates(pairs)
    return Section(
        f"Intake alone, {load.contents:,} contents",
        [Figure("stock Faust doing nothing", max(stock), RATE), Figure("our lane doing nothing", max(ours), RATE)],
        {"intake_noop_vs_stock_faust_noop": paired_ratio(ours, stock)},
    )


async def _whole(ground: Ground, scale: Scale) -> Section:
    load = Load(1000)
    one: list[tuple[Run, Run]] = []
    two: list[tuple[Run, Run]] = []
    for _ in range(ROUNDS[scale]):
        one.append(await _pair(ground, scale, load, workers=1))
        two.append(await _pair(ground, scale, load, workers=2))
    stock, ours = _rates(one)
    stock_beside_two, ours_of_two = _rates(two)
    return Section(
        f"End to end, {load.batches:,} batches of {load.essays_per_batch}",
        [
            Figure("stock Faust doing nothing", max(stock + stock_beside_two), RATE),
            Figure("the whole service, one worker", max(ours), RATE),
            Figure("the whole service, two workers", max(ours_of_two), RATE),
        ],
        {
            "end_to_end_vs_stock_faust_noop": paired_ratio(ours, stock),
            "end_to_end_2_workers_vs_stock_faust_noop": paired_ratio(ours_of_two, stock_beside_two),
        },
    )


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

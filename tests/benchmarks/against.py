"""`python -m tests.benchmarks.against REVISION`: compares this checkout with another revision, round by round.

The end-to-end cases and costs are benchmarks of each revision, which starts servers of its own from the same binaries.
Latencies are measured here, with one load and one reader for the workers of both.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import uvloop
from rich.console import Console

from els_stream.config.setting_types import CHECKOUT
from els_stream.config.settings import Settings
from els_stream.demo.workers import running_workers
from els_stream.events.topics import BATCH_REGISTERED
from tests.benchmarks import latency, memory, runs
from tests.benchmarks.comparison import Comparison, figure
from tests.benchmarks.environment import APPEND_TIMES, BenchmarkEnvironment, benchmark_environment
from tests.benchmarks.load import Load
from tests.benchmarks.machine import machine, versions
from tests.benchmarks.preload import preload
from tests.benchmarks.report import Scale, percentile
from tests.benchmarks.revisions import Revision, checked_out, this_revision

RESULT: Final = CHECKOUT / "bench-against.json"
ROUNDS: Final = 5
SECONDS: Final = {Scale.QUICK: 8.0, Scale.FULL: 20.0}
RATES: Final = (100, 500, 1000, 3000)
PEAK: Final = "the whole service, one worker"
SHARES: Final = {"p50": 0.5, "p99": 0.99}


@dataclass(slots=True)
class Rounds:
    """Runs both revisions one after the other; which one is first changes from round to round."""

    env: BenchmarkEnvironment
    scale: Scale
    new: Revision
    old: Revision
    comparison: Comparison = field(default_factory=Comparison)

    async def run(self, number: int) -> None:
        """Run one round. Costs and memory do not depend on time: the first round measures them."""
        order = (self.old, self.new) if number % 2 else (self.new, self.old)
        only = ("e2e",) if number else ("e2e", "costs")
        results = {one.name: await self._benchmarks(one, only) for one in order}
        new, old = results[self.new.name], results[self.old.name]
        self.comparison.add_round(new, old)
        if not number:
            peaks = {one.name: await self._peaks(one) for one in order}
            self.comparison.add_ratios(peaks[self.new.name], peaks[self.old.name])
        half = figure(old, PEAK) / 2
        for name, rate in (*((str(rate), rate) for rate in RATES), ("half_peak", half)):
            took = {one.name: await self._latencies(one, rate) for one in order}
            self.comparison.add_ratios(
                _shares(name, took[self.new.name]),
                _shares(name, took[self.old.name]),
            )

    async def warm_up(self) -> None:
        """Let the broker that just started be compiled, outside of any measurement."""
        await self._latencies(self.new, max(RATES))

    async def _benchmarks(self, revision: Revision, only: Sequence[str]) -> dict[str, Any]:
        started = time.monotonic()
        result = await revision.benchmarks(self.scale, only)
        sys.stderr.write(f"{time.monotonic() - started:6.1f} s  {revision.name}: {' '.join(only)}\n")
        return result

    async def _peaks(self, revision: Revision) -> dict[str, float]:
        program = memory.Program(partial(revision.migrate, self.env.broker), revision.worker, revision.python)
        return {
            f"peak_memory_{name}": max(await memory.samples(self.env, memory.LOAD[self.scale], events, program))
            for name, events in memory.CASES.items()
        }

    async def _latencies(self, revision: Revision, rate: float) -> list[float]:
        load = latency.load_of(rate, SECONDS[self.scale])
        migrate = partial(revision.migrate, self.env.broker)
        async with self.env.worker_settings(APPEND_TIMES, migrate=migrate) as settings:
            async with running_workers(settings, 1, revision.worker, python=revision.python):
                await _register(settings, load)
                await latency.send_at(settings, load, rate)
            took = await latency.latencies(settings)
        sys.stderr.write(f"          {revision.name}: p50 at {rate:,.0f}/s {percentile(took, 0.5):.0f} ms\n")
        return took


async def _register(settings: Settings, load: Load) -> None:
    """Register the batches by events and wait until the worker has processed them."""
    topic = settings.topic_prefix + BATCH_REGISTERED
    events = [(one.key, one.value or b"") for one in load.registrations()]
    await preload(str(settings.broker), topic, events)
    await runs.until_handled(settings, topic, len(events))


def _shares(name: str, took: Sequence[float]) -> dict[str, float]:
    return {f"latency_at_{name}_{percent}": percentile(took, share) for percent, share in SHARES.items()}


@click.command()
@click.argument("revision")
@click.option("--quick", "scale", flag_value=Scale.QUICK.value, help="Small sizes: in about half an hour.")
@click.option("--full", "scale", flag_value=Scale.FULL.value, default=True, help="In about two hours.")
@click.option("--rounds", type=click.IntRange(min=1), default=ROUNDS, show_default=True)
@click.option("--json", "path", type=click.Path(path_type=Path), default=RESULT, help="Where the result is written.")
def main(revision: str, scale: str, rounds: int, path: Path) -> None:
    """Compare this checkout with REVISION and print ratios of new over old."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs each retry on a new topic
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped
    old = checked_out(revision)
    with benchmark_environment() as env, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        both = Rounds(env, Scale(scale), this_revision(), old)
        runner.run(both.warm_up())
        for number in range(rounds):
            runner.run(both.run(number))
            about = {"revision": revision, "scale": scale, "rounds": number + 1}
            # After each round, so that a failure loses none.
            both.comparison.write(path, {**about, "machine": machine(), "versions": versions()})
    Console().print(both.comparison.as_table())


if __name__ == "__main__":
    main()

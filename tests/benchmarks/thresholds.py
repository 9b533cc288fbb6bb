"""A benchmark as a command of its own, which says by its exit code whether its limits are kept."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Sequence

import uvloop
from rich.console import Console

from tests.benchmarks.environment import BenchmarkEnvironment, benchmark_environment
from tests.benchmarks.output import as_table
from tests.benchmarks.report import Measure, Scale, Section


def run_with_thresholds(
    measure: Measure, scale: Scale, complaints: Callable[[Sequence[Section]], Iterable[str]]
) -> int:
    """Prints the sections and what they break; 1 if they break anything."""
    with benchmark_environment() as env, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sections = runner.run(_sections(measure, env, scale))
    Console().print(as_table(sections))
    sys.stderr.write(f"the machine's load average is {os.getloadavg()[0]:.1f} for {os.cpu_count()} cores\n")
    failed = list(complaints(sections))
    for complaint in failed:
        sys.stderr.write(f"{complaint}\n")
    return int(bool(failed))


async def _sections(measure: Measure, env: BenchmarkEnvironment, scale: Scale) -> list[Section]:
    return [section async for section in measure(env, scale)]

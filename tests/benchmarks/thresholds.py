"""Runs one benchmark as a command whose exit code says whether it exceeds its limits."""

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


def run_with_thresholds(measure: Measure, scale: Scale, exceeded: Callable[[Sequence[Section]], Iterable[str]]) -> int:
    """Print the sections and the exceeded limits; return 1 if there are any."""
    with benchmark_environment() as env, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sections = runner.run(_sections(measure, env, scale))
    Console().print(as_table(sections))
    sys.stderr.write(f"the machine's load average is {os.getloadavg()[0]:.1f} for {os.cpu_count()} cores\n")
    failed = list(exceeded(sections))
    for line in failed:
        sys.stderr.write(f"{line}\n")
    return int(bool(failed))


async def _sections(measure: Measure, env: BenchmarkEnvironment, scale: Scale) -> list[Section]:
    return [section async for section in measure(env, scale)]

"""`python -m tests.benchmarks`: runs benchmarks, prints a table and writes bench.json."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from pathlib import Path

import click
import uvloop
from rich.console import Console

from tests.benchmarks.environment import BenchmarkEnvironment, benchmark_environment
from tests.benchmarks.machine import machine, versions
from tests.benchmarks.output import as_table, write_json
from tests.benchmarks.registry import BENCHMARKS, Benchmark, select
from tests.benchmarks.report import Scale, Section

RESULT = Path(__file__).parents[2] / "bench.json"


@click.command()
@click.option("--quick", "scale", flag_value=Scale.QUICK.value, help="Small sizes: in less than 3 minutes.")
@click.option("--full", "scale", flag_value=Scale.FULL.value, default=True, help="In less than 15 minutes.")
@click.option("--growth", "scale", flag_value=Scale.GROWTH.value, help="With up to 10 million essays: takes long.")
@click.option("--only", multiple=True, type=click.Choice([one.name for one in BENCHMARKS]), help="May be repeated.")
@click.option("--json", "path", type=click.Path(path_type=Path), default=RESULT, help="Where the result is written.")
def main(scale: str, only: tuple[str, ...], path: Path) -> None:
    """Run benchmarks and report ratios, which depend little on other load of the machine."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # it logs each retry on a new topic
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped
    started = time.monotonic()
    sections: list[Section] = []
    finished = False
    try:
        # The event loop of a worker, also for measurements in this process.
        with benchmark_environment() as env, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(env, select(Scale(scale), only), Scale(scale), sections))
        finished = True
    finally:
        Console().print(as_table(sections))
        about = {"scale": scale, "finished": finished, "seconds": round(time.monotonic() - started)}
        write_json(path, sections, about=about, machine=machine(), versions=versions())
        click.echo(f"{about['seconds']} s; written to {path.name}")


async def _run(env: BenchmarkEnvironment, benchmarks: list[Benchmark], scale: Scale, sections: list[Section]) -> None:
    """Add to `sections` as they are finished, so that a failure loses none."""
    for benchmark in benchmarks:
        started = time.monotonic()
        async for section in benchmark.measure(env, scale):
            sys.stderr.write(f"{time.monotonic() - started:6.1f} s  {benchmark.name}: {section.title}\n")
            sections.append(section)


if __name__ == "__main__":
    main()

"""`python -m tests.benchmarks`: measures, prints one table, and writes bench.json."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import click
from rich.console import Console

from tests.benchmarks.ground import ground
from tests.benchmarks.machine import machine, versions
from tests.benchmarks.output import as_table, write_json
from tests.benchmarks.registry import BENCHMARKS, Benchmark, chosen
from tests.benchmarks.report import Scale, Section

RESULT = Path(__file__).parents[2] / "bench.json"


@click.command()
@click.option("--quick", "scale", flag_value=Scale.QUICK.value, help="Small sizes: in less than 3 minutes.")
@click.option("--full", "scale", flag_value=Scale.FULL.value, default=True, help="In less than 15 minutes.")
@click.option("--growth", "scale", flag_value=Scale.GROWTH.value, help="With up to 10 million essays: takes long.")
@click.option("--only", multiple=True, type=click.Choice([one.name for one in BENCHMARKS]), help="May be repeated.")
@click.option("--json", "path", type=click.Path(path_type=Path), default=RESULT, help="Where the result is written.")
def main(scale: str, only: tuple[str, ...], path: Path) -> None:
    """Measure ratios that mean something also on a machine that is not quiet."""
    started = time.monotonic()
    sections = asyncio.run(_run(chosen(Scale(scale), only), Scale(scale)))
    seconds = time.monotonic() - started
    Console().print(as_table(sections))
    write_json(path, sections, scale=scale, seconds=seconds, machine=machine(), versions=versions())
    click.echo(f"{seconds:.0f} s; written to {path.name}")


async def _run(benchmarks: list[Benchmark], scale: Scale) -> list[Section]:
    sections: list[Section] = []
    async with ground() as here:
        for benchmark in benchmarks:
            async for section in benchmark.measure(here, scale):
                sys.stderr.write(f"{benchmark.name}: {section.title}\n")
                sections.append(section)
    return sections


if __name__ == "__main__":
    main()

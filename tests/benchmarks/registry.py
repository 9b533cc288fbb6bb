"""The list of benchmarks, in the order in which they run."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Final, cast

from tests.benchmarks.report import Measure, Scale

USUAL: Final = (Scale.QUICK, Scale.FULL)
GROWTH: Final = (Scale.GROWTH,)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Its module `tests.benchmarks.<module>` defines `measure`."""

    name: str
    module: str
    scales: tuple[Scale, ...] = USUAL

    @property
    def measure(self) -> Measure:
        return cast("Measure", importlib.import_module(f"tests.benchmarks.{self.module}").measure)


BENCHMARKS: Final = (
    Benchmark("e2e", "end_to_end"),
    Benchmark("relay", "relay"),
    Benchmark("latency", "latency"),
    Benchmark("claims", "claims"),
    Benchmark("seeds", "seeds"),
    Benchmark("costs", "costs"),
    Benchmark("memory", "memory"),
    Benchmark("scaling", "scaling", (Scale.FULL,)),
    Benchmark("purging", "purging", GROWTH),
    Benchmark("growth", "growth", GROWTH),
)


def select(scale: Scale, only: tuple[str, ...] = ()) -> list[Benchmark]:
    """Return the benchmarks of this scale, or those with these names, in order."""
    return [benchmark for benchmark in BENCHMARKS if scale in benchmark.scales and (not only or benchmark.name in only)]

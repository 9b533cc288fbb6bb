"""The results of a benchmark, and shared calculations.

Absolute figures depend on the machine and its other load; ratios within one run depend on them much less. So each
module measures its baseline in the same run, alternating, and reports the ratio.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import geometric_mean
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from tests.benchmarks.environment import BenchmarkEnvironment


class Scale(enum.StrEnum):
    """The sizes of the benchmarks: QUICK takes less than 3 minutes in all, FULL less than 15."""

    QUICK = "quick"
    FULL = "full"
    GROWTH = "growth"


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Section:
    """A titled group of results. Names of ratios are unique in a run.

    `series` are for charts: they are in bench.json and not in the table.
    """

    title: str
    figures: Sequence[Figure]
    ratios: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)


# The type of `measure` in each benchmark's module: it yields each section when it is finished.
Measure: TypeAlias = Callable[["BenchmarkEnvironment", Scale], AsyncIterator[Section]]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` (0 to 1) of the values do not exceed."""
    if not values or not 0 < share <= 1:
        raise ValueError("a percentile needs values and a share above 0 and at most 1")
    ordered = sorted(values)
    return ordered[ceil(len(ordered) * share) - 1]


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the geometric mean of the ratios of consecutive measurements, in which slow drift cancels out."""
    return geometric_mean([our / their for our, their in zip(ours, theirs, strict=True)])

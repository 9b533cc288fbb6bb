"""What a benchmark gives back, and the arithmetic that all of them share.

A figure of one run means little on a machine that others use; a ratio of two figures of one run means much. So each
module measures what it compares with in the same run, in turns, and names the ratio.
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
    """How much is measured: all of QUICK takes less than 3 minutes, all of FULL less than 15."""

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
    """`ratios` are named as the project's aims name them; a name is given by one section of a run only.

    `series` are for plots: they stand in bench.json and not in the table.
    """

    title: str
    figures: Sequence[Figure]
    ratios: Mapping[str, float] = field(default_factory=dict)
    series: Mapping[str, Sequence[float]] = field(default_factory=dict)


# What the module of a benchmark defines as `measure`: its sections, each as soon as it is known.
Measure: TypeAlias = Callable[["BenchmarkEnvironment", Scale], AsyncIterator[Section]]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    if not values or not 0 < share <= 1:
        raise ValueError("a percentile needs values, and a share of them above 0 and at most 1")
    ordered = sorted(values)
    return ordered[ceil(len(ordered) * share) - 1]


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The geometric mean of the ratios of what was measured one after the other: slow drift of the machine cancels."""
    return geometric_mean([our / their for our, their in zip(ours, theirs, strict=True)])

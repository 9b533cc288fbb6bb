"""Pairs the results of two revisions round by round: ratios of new over old, in which slow drift cancels out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.table import Table

from tests.benchmarks.output import format_number

BASELINE: Final = "stock Faust doing nothing"
TO_BASELINE: Final = "_vs_stock_faust_noop"
# Figures that do not depend on the speed of the machine's moment, beside the ratios.
COST_UNITS: Final = ("µs CPU/content", "/essay", "bytes/essay")


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure in all rounds, of the new revision and of the old one."""

    new: Sequence[float]
    old: Sequence[float]

    def as_json(self) -> dict[str, float]:
        """Return the ratios of the rounds, new over old, and the medians of both sides."""
        ratios = [new / old for new, old in zip(self.new, self.old, strict=True)]
        return {
            "median": median(ratios),
            "low": min(ratios),
            "high": max(ratios),
            "new": median(self.new),
            "old": median(self.old),
        }


@dataclass(slots=True)
class Comparison:
    """Grows by one pair of values for each name and round; `ratios` by the names of bench.json."""

    ratios: dict[str, Compared] = field(default_factory=dict)
    figures: dict[str, Compared] = field(default_factory=dict)

    def add_round(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
        """Add two bench.json; what only one of them has is left out."""
        _add(self.ratios, _rates(new), _rates(old))
        _add(self.figures, _costs(new), _costs(old))

    def add_ratios(self, new: Mapping[str, float], old: Mapping[str, float]) -> None:
        _add(self.ratios, new, old)

    def as_table(self) -> Table:
        table = Table(title="this revision over the other one")
        table.add_column("what", overflow="fold")
        for title in ("new", "old", "ratio", "low", "high"):
            table.add_column(title, justify="right")
        for compared in (self.ratios, self.figures):
            table.add_section()
            for name, one in compared.items():
                values = one.as_json()
                shown = [format_number(values[key]) for key in ("new", "old")]
                table.add_row(name, *shown, *(f"{values[key]:.2f}" for key in ("median", "low", "high")))
        return table

    def write(self, path: Path, about: Mapping[str, object]) -> None:
        whole = {**about, "ratios": _as_json(self.ratios), "figures": _as_json(self.figures)}
        path.write_text(json.dumps(whole, indent=2) + "\n")


def figure(result: Mapping[str, Any], name: str) -> float:
    """Return the value of the first figure with this name; raises LookupError if there is none."""
    for _, one in _figures(result):
        if one["name"] == name:
            return float(one["value"])
    raise LookupError(name)


def _as_json(compared: Mapping[str, Compared]) -> dict[str, dict[str, float]]:
    return {name: one.as_json() for name, one in compared.items()}


def _add(compared: dict[str, Compared], new: Mapping[str, float], old: Mapping[str, float]) -> None:
    for name, value in new.items():
        if old.get(name):  # no ratio to 0
            before = compared.get(name, Compared((), ()))
            compared[name] = Compared((*before.new, value), (*before.old, old[name]))


def _rates(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the ratios; those to stock Faust as rates, since that is the same program on both sides, and noisy."""
    rates: dict[str, float] = {}
    for section in result["sections"]:
        baseline = next((one["value"] for one in section["figures"] if one["name"].startswith(BASELINE)), 1.0)
        for name, ratio in section["ratios"].items():
            rates[name] = ratio * baseline if TO_BASELINE in name else ratio
    return rates


def _costs(result: Mapping[str, Any]) -> dict[str, float]:
    costs: dict[str, float] = {}
    for title, one in _figures(result):
        if one["unit"] in COST_UNITS and not one["name"].startswith(BASELINE):
            costs[f"{title}: {one['name']}"] = float(one["value"])
    return costs


def _figures(result: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for section in result["sections"]:
        for one in section["figures"]:
            yield section["title"], one

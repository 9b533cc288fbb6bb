"""Adds up the reports of several chaos runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from tests.support.capacity import Drain, cpu_each, rate
from tests.support.faults import Fault
from tests.support.progress import quantiles

TITLES: Final = (
    "seed",
    "records",
    "invalid",
    "events",
    "copies",
    "kills",
    "other faults",
    "minutes",
    "recovery p50 / p95 / max",
    "rate after : before",
    "CPU after : before",
    "differences",
)


def summed(folders: Iterable[Path]) -> str:
    """Return a table of the runs and their sums. Raises FileNotFoundError for a folder without a report."""
    return "\n".join(_lines([json.loads((folder / "chaos.json").read_text()) for folder in folders]))


def _lines(runs: list[dict[str, Any]]) -> Iterator[str]:
    yield f"| {' | '.join(TITLES)} |"
    yield "|" + " --- |" * len(TITLES)
    for run in runs:
        yield _row(str(run["seed"]), [run])
    yield _row("all", runs)
    faults: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    for run in runs:
        faults.update(run["faults"])
        sent.update(run["sent"])
    yield "faults: " + _counts(faults)
    yield "sent: " + _counts(sent)


def _row(name: str, runs: list[dict[str, Any]]) -> str:
    recoveries = sorted(second for run in runs for found in run["recoveries"].values() for second in found)
    kills = sum(run["faults"].get(Fault.KILL, 0) for run in runs)
    cells = (
        name,
        f"{sum(run['records'] for run in runs):,}",
        f"{sum(run['refused'] for run in runs):,}",
        f"{sum(run['events'] for run in runs):,}",
        f"{sum(run['copies'] for run in runs):,}",
        f"{kills:,}",
        f"{sum(sum(run['faults'].values()) for run in runs) - kills:,}",
        f"{sum(run['seconds'] for run in runs) / 60:.1f}",
        " / ".join(f"{value:.2f}" for value in quantiles(recoveries).values()) + " s",
        _ratio(rate, runs),
        _ratio(cpu_each, runs),
        str(sum(len(run["differences"]) for run in runs)),
    )
    return f"| {' | '.join(cells)} |"


def _ratio(measure: Callable[[Sequence[Drain]], float], runs: list[dict[str, Any]]) -> str:
    """Compare all backlogs after the last fault of each run with all before the first."""
    before, after = (
        measure([Drain(**drain) for run in runs for drain in run["backlogs"][when]]) for when in ("before", "after")
    )
    return f"{after / before:.2f}" if before and after else "-"


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))

"""The result of a chaos run as a line, as JSON, and as a page of plots."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from tests.benchmarks import svg
from tests.support.capacity import Drain, cpu_each, rate
from tests.support.faults import Fault
from tests.support.progress import Progress, quantiles

RATE_INTERVAL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run did.

    `before` and `after`: backlogs handled before the first fault and after the last.
    `late_stops`: how many replaced workers ended by their deadline, as a server could not be reached.
    `events_by_copies`: how many events have so many copies besides their first record.
    """

    seed: int
    records: int
    refused: int
    faults: Counter[Fault]
    late_stops: int
    upstream: Counter[str]
    progress: Progress
    before: Sequence[Drain]
    after: Sequence[Drain]
    events: int
    events_by_copies: Counter[int]
    wrong: list[str]

    @property
    def copies(self) -> int:
        return sum(copies * events for copies, events in self.events_by_copies.items())

    @property
    def seconds(self) -> float:
        return self.progress.samples[-1][0] if self.progress.samples else 0.0

    def __str__(self) -> str:
        faults = ", ".join(f"{count} of {fault}" for fault, count in self.faults.items()) or "no fault"
        recovery = quantiles(sorted(second for found in self.progress.recoveries().values() for second in found))
        recovered = ", ".join(f"{name} {value:.2f} s" for name, value in recovery.items()) or "-"
        return (
            f"seed {self.seed}: {self.records} records, {self.refused} of them refused, {self.events} events and"
            f" {self.copies} copies, in {self.seconds:.0f} s\n"
            f"faults: {faults}; {self.late_stops} workers ended by their deadline\n"
            f"sent: {', '.join(f'{count} {name}' for name, count in sorted(self.upstream.items()))}\n"
            f"recovery: {recovered}\n"
            f"backlogs before the first fault: {_line(self.before)}\n"
            f"backlogs after the last fault: {_line(self.after)}\n"
            f"{len(self.wrong)} differences"
        )

    def as_json(self) -> dict[str, Any]:
        recoveries = self.progress.recoveries()
        return {
            "seed": self.seed,
            "records": self.records,
            "refused": self.refused,
            "events": self.events,
            "copies": self.copies,
            "events_by_copies": dict(sorted(self.events_by_copies.items())),
            "faults": {str(fault): count for fault, count in self.faults.items()},
            "late_stops": self.late_stops,
            "sent": dict(self.upstream),
            "seconds": self.seconds,
            "recoveries": recoveries,
            "recovery_seconds": {fault: quantiles(seconds) for fault, seconds in recoveries.items()},
            "backlogs": {
                "rate": {"before": rate(self.before), "after": rate(self.after)},
                "cpu_each": {"before": cpu_each(self.before), "after": cpu_each(self.after)},
                "before": _drains(self.before),
                "after": _drains(self.after),
            },
            "differences": self.wrong,
            "samples": self.progress.rates(RATE_INTERVAL_SECONDS),
            "moments": [(moment.fault, moment.began, moment.ended) for moment in self.progress.faults],
        }


def _line(drains: Sequence[Drain]) -> str:
    if not drains:
        return "-"
    return f"{rate(drains):,.0f} records/s and {cpu_each(drains):,.0f} µs of CPU each (medians of {len(drains)})"


def _drains(drains: Sequence[Drain]) -> list[dict[str, Any]]:
    return [{"records": each.records, "seconds": each.seconds, "cpu": dict(each.cpu)} for each in drains]


def write(result: Result, folder: Path) -> Path:
    """Write `chaos.json` and `chaos.html` to the folder; return the page's path."""
    (folder / "chaos.json").write_text(json.dumps(result.as_json(), indent=1) + "\n")
    page = folder / "chaos.html"
    page.write_text("\n".join(_page(result)) + "\n")
    return page


def _page(result: Result) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><meta charset="utf-8"><title>Chaos run</title>'
    yield f"<pre>{escape(str(result))}</pre>"
    moments = [(moment.fault, moment.began) for moment in result.progress.faults]
    yield svg.timeline("Records handled per second, and the faults", result.progress.rates(1.0), moments)
    for fault, seconds in sorted(result.progress.recoveries().items()):
        yield svg.histogram(f"Seconds until the next record was handled: {fault}", seconds)
    copies = [(f"copies: {count}", events) for count, events in sorted(result.events_by_copies.items())]
    yield svg.counts("Events by their number of copies (logarithmic)", copies)
    yield _differences(result.wrong)
    yield "</html>"


def _differences(wrong: Sequence[str]) -> str:
    return "<p>No differences.</p>" if not wrong else f"<pre>{escape(chr(10).join(wrong))}</pre>"

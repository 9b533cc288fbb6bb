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
from tests.support.faults import Fault
from tests.support.progress import Progress, quantiles

RATE_INTERVAL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run did. `undisturbed`: no fault before the first and none after the second ratio of all records."""

    seed: int
    records: int
    refused: int
    faults: Counter[Fault]
    upstream: Counter[str]
    progress: Progress
    undisturbed: tuple[float, float]
    events: int
    copies: int
    wrong: list[str]

    @property
    def rate_before(self) -> float:
        """Records per second before the first fault, without the start."""
        return self.progress.rate(self.undisturbed[0] / 4, self.undisturbed[0])

    @property
    def rate_after(self) -> float:
        """Records per second after the last fault."""
        return self.progress.rate(self.undisturbed[1], 0.99)

    def __str__(self) -> str:
        seconds = self.progress.samples[-1][0] if self.progress.samples else 0.0
        faults = ", ".join(f"{count} of {fault}" for fault, count in self.faults.items()) or "no fault"
        recovery = quantiles(sorted(second for found in self.progress.recoveries().values() for second in found))
        recovered = ", ".join(f"{name} {value:.2f} s" for name, value in recovery.items()) or "-"
        return (
            f"seed {self.seed}: {self.records} records, {self.refused} of them refused, {self.events} events and"
            f" {self.copies} copies, in {seconds:.0f} s\n"
            f"faults: {faults}\n"
            f"sent: {', '.join(f'{count} {name}' for name, count in sorted(self.upstream.items()))}\n"
            f"recovery: {recovered}; records/s before {self.rate_before:.0f}, after {self.rate_after:.0f}\n"
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
            "faults": {str(fault): count for fault, count in self.faults.items()},
            "sent": dict(self.upstream),
            "recovery_seconds": {fault: quantiles(seconds) for fault, seconds in recoveries.items()},
            "records_per_second": {"before": self.rate_before, "after": self.rate_after},
            "differences": self.wrong,
            "samples": self.progress.rates(RATE_INTERVAL_SECONDS),
            "moments": [(moment.fault, moment.began, moment.ended) for moment in self.progress.faults],
        }


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
    yield _differences(result.wrong)
    yield "</html>"


def _differences(wrong: Sequence[str]) -> str:
    return "<p>No differences.</p>" if not wrong else f"<pre>{escape(chr(10).join(wrong))}</pre>"

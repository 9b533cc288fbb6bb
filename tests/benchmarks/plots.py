"""`python -m tests.benchmarks.plots [bench.json]`: writes charts and tables of the results to docs/."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from els_stream.config.setting_types import CHECKOUT
from tests.benchmarks import svg
from tests.benchmarks.output import format_number
from tests.support.generated_docs import PERFORMANCE, replace_block, table

RESULT: Final = CHECKOUT / "bench.json"
BARS: Final = CHECKOUT / "docs" / "speed-ratios.svg"
CURVES: Final = CHECKOUT / "docs" / "speed-latency.svg"

NOOP: Final = "vs_stock_faust_noop"
RUNS: Final = {
    f"end_to_end_{NOOP}": "1,000 batches of 30",
    f"end_to_end_2_workers_{NOOP}": "… with two workers",
    f"end_to_end_{NOOP}_10000_batches": "10,000 batches of 30",
    f"end_to_end_2_workers_{NOOP}_10000_batches": "… with two workers",
    f"end_to_end_{NOOP}_unkeyed": "without keys",
    f"end_to_end_{NOOP}_repeats": "every tenth content twice",
    f"end_to_end_{NOOP}_batches_of_120": "250 batches of 120",
    f"end_to_end_{NOOP}_hot_batch": "one batch of 10,000",
}
FIRST: Final = "End to end, 1,000 batches of 30"
NO_RATIOS: Final = ("Latency", "an essay's costs")
LATENCIES: Final = {"latency_at_100": "at 100/s", "latency_at_half_peak": "at half of the peak rate"}
AIMS: Final = {
    "intake_noop_vs_stock_faust_noop": "≥ 5",
    "end_to_end_vs_stock_faust_noop": "≥ 2",
    "end_to_end_2_workers_vs_stock_faust_noop": "≥ 2.5",
    "relay_vs_producer_alone": "≥ 0.4",
    "claims_vs_raw_sql": "≥ 0.8",
    "option_b_vs_option_a_average_one_by_one": "≤ 1",
    "option_b_vs_option_a_p95_one_by_one": "≤ 1",
}
# Ratios of each strategy, size and number of connections: only in bench.json.
IN_DETAIL: Final = "claims_vs_raw_sql_"

Result: TypeAlias = Mapping[str, Any]
Picture: TypeAlias = Callable[[Result], str]


def bars(result: Result) -> str:
    ratios = result["ratios"]
    shown = [(label, ratios[name]) for name, label in RUNS.items() if name in ratios]
    return svg.bars("The whole service, as a multiple of stock Faust", "stock Faust doing nothing", shown)


def curves(result: Result) -> str:
    found = {name: values for section in result["sections"] for name, values in section["series"].items()}
    shown = [(label, found[name]) for name, label in LATENCIES.items() if name in found]
    return svg.curves("From a content's timestamp until the broker has the event of its slot", shown)


def summary(result: Result) -> str:
    """Return the text and tables for docs/performance.md."""
    machine = result["machine"]
    where = f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB; {result['date'][:10]}"
    ratios = table(("ratio", "measured", "aim"), _ratios(result["ratios"]))
    figures = table(("", "", ""), _figures(result["sections"]))
    target = {"quick": "bench-quick", "growth": "bench-growth"}.get(result["scale"], "bench")
    return f"Measured by `make {target}` on: {where}.\n\n{ratios}\n\n{figures}"


def rewritten(page: str, result: Result) -> str:
    return replace_block(page, "speed", "make bench-plots", summary(result))


def _ratios(ratios: Mapping[str, float]) -> Iterable[Sequence[str]]:
    for name, value in ratios.items():
        if not name.startswith(IN_DETAIL):
            yield f"`{name}`", f"{value:.2f}", AIMS.get(name, "")


def _figures(sections: Iterable[Mapping[str, Any]]) -> Iterable[Sequence[str]]:
    """Yield the values of the benchmarks without ratios, and of the first end-to-end run."""
    for section in sections:
        if section["title"] == FIRST or section["title"].startswith(NO_RATIOS):
            for figure in section["figures"]:
                yield section["title"], figure["name"], f"{format_number(figure['value'])} {figure['unit']}"


def main(path: Path) -> None:
    result = json.loads(path.read_text())
    BARS.write_text(bars(result))
    CURVES.write_text(curves(result))
    PERFORMANCE.write_text(rewritten(PERFORMANCE.read_text(), result))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else RESULT)

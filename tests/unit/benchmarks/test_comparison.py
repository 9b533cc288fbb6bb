import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.comparison import Comparison, figure


def result(rate: float, stock: float, wal: float = 2600, **ratios: float) -> dict[str, Any]:
    """Return a bench.json of a snail that is `rate / stock` times as fast as stock Faust."""
    figures = [
        {"name": "stock Faust doing nothing, median of 3 runs", "value": stock, "unit": "contents/s"},
        {"name": "stock Faust doing nothing", "value": 1.0, "unit": "µs CPU/content"},
        {"name": "the whole service, one snail", "value": rate, "unit": "contents/s"},
        {"name": "one snail: slime", "value": 70.0, "unit": "µs CPU/content"},
    ]
    return {
        "sections": [
            {"title": "End to end", "figures": figures, "ratios": {"end_to_end_vs_stock_faust_noop": rate / stock}},
            {"title": "costs", "figures": [{"name": "WAL", "value": wal, "unit": "bytes/essay"}], "ratios": ratios},
        ]
    }


def written(comparison: Comparison, folder: Path) -> dict[str, Any]:
    comparison.write(folder / "bench-against.json", {"revision": "46a1d0e"})
    read: dict[str, Any] = json.loads((folder / "bench-against.json").read_text())
    return read


def test_ratios_of_rounds_are_new_over_old_whatever_stock_faust_did_meanwhile(tmp_path: Path) -> None:
    comparison = Comparison()
    comparison.add_round(result(20_000, stock=5000), result(10_000, stock=7000))
    comparison.add_round(result(3000, stock=4000), result(2000, stock=2500))
    comparison.add_round(result(16_000, stock=6000), result(10_000, stock=6000))
    ratio = written(comparison, tmp_path)["ratios"]["end_to_end_vs_stock_faust_noop"]
    assert ratio == pytest.approx({"median": 1.6, "low": 1.5, "high": 2.0, "new": 16_000, "old": 10_000})


def test_costs_are_compared_and_rates_and_those_of_stock_faust_are_not(tmp_path: Path) -> None:
    comparison = Comparison()
    comparison.add_round(result(1, 1, wal=1300), result(1, 1, wal=2600))
    figures = written(comparison, tmp_path)["figures"]
    assert figures.keys() == {"End to end: one snail: slime", "costs: WAL"}
    assert figures["costs: WAL"]["median"] == pytest.approx(0.5)


def test_names_that_one_revision_lacks_are_left_out(tmp_path: Path) -> None:
    comparison = Comparison()
    comparison.add_round(result(1, 1, of_tomorrow=2.0), result(1, 1, of_yesterday=3.0))
    assert written(comparison, tmp_path)["ratios"].keys() == {"end_to_end_vs_stock_faust_noop"}


def test_other_ratios_and_latencies_are_compared_as_they_are(tmp_path: Path) -> None:
    comparison = Comparison()
    comparison.add_round(result(1, 1, claims_vs_raw_sql=0.9), result(1, 1, claims_vs_raw_sql=0.6))
    comparison.add_ratios({"latency_at_100_p50": 6.0}, {"latency_at_100_p50": 8.0})
    whole = written(comparison, tmp_path)
    assert whole["revision"] == "46a1d0e"
    assert whole["ratios"]["claims_vs_raw_sql"]["median"] == pytest.approx(1.5)
    assert whole["ratios"]["latency_at_100_p50"]["median"] == pytest.approx(0.75)


def test_a_figure_is_found_by_its_name() -> None:
    assert figure(result(17_800, stock=5000), "the whole service, one snail") == 17_800
    with pytest.raises(LookupError):
        figure(result(1, 1), "the whole service, a hare")

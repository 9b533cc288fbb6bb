import json
from pathlib import Path

import pytest

from tests.benchmarks.load import Load
from tests.benchmarks.output import all_ratios, format_number, write_json
from tests.benchmarks.report import Figure, Section, paired_ratio, percentile

TOO_FAST = Section("A very fast section", [Figure("light", 299_792_458, "m/s")], {"light_vs_sound": 874_030.0})


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([7], 0.5, 7), ([4, 1, 3, 2], 0.5, 2), ([5, 1, 4, 2, 3], 0.5, 3), (range(1, 101), 0.99, 99), ([2, 9, 4], 1, 9)],
)
def test_a_percentile_is_the_smallest_value_that_the_share_does_not_exceed(
    values: list[float], share: float, expected: float
) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.1)])
def test_a_percentile_of_no_values_is_refused(values: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile(values, share)


def test_a_machine_that_slows_down_between_rounds_changes_no_ratio() -> None:
    assert paired_ratio(ours=[300, 30], theirs=[100, 10]) == pytest.approx(3)


def test_opposite_ratios_of_two_rounds_give_one() -> None:
    assert paired_ratio(ours=[2, 1], theirs=[1, 2]) == pytest.approx(1)


def test_series_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        paired_ratio(ours=[1, 2], theirs=[1])


def test_one_name_of_a_ratio_in_two_sections_is_refused() -> None:
    with pytest.raises(ValueError, match="light_vs_sound"):
        all_ratios([TOO_FAST, TOO_FAST])


@pytest.mark.parametrize(("value", "text"), [(12_345.6, "12,346"), (0.01234, "0.0123"), (7.0, "7"), (9.876, "9.88")])
def test_figures_have_about_three_significant_digits(value: float, text: str) -> None:
    assert format_number(value) == text


def test_the_result_contains_machine_versions_and_ratios(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"

    write_json(path, [TOO_FAST], about={"scale": "quick"}, machine={"cpu": "abacus"}, versions={"beads": "10"})

    result = json.loads(path.read_text())
    assert result["ratios"] == {"light_vs_sound": 874_030.0}
    assert (result["machine"], result["versions"]) == ({"cpu": "abacus"}, {"beads": "10"})
    assert result["sections"][0]["figures"] == [{"name": "light", "value": 299_792_458, "unit": "m/s"}]


def test_a_load_has_the_given_number_of_contents_and_repeats() -> None:
    load = Load(batches=10, essays_per_batch=30, repeat_every=10)

    values = [json.loads(value)["data"] for _, value in load.sent()]

    assert len(values) == load.contents == 330
    assert len({(it["entity_id"], it["text_storage_id"]) for it in values}) == load.essays == 300


def test_the_keys_of_a_load_are_its_batches() -> None:
    assert {key for key, _ in Load(3).sent()} == {record.key for record in Load(3).registrations()}

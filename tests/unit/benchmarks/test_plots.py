from io import BytesIO
from xml.parsers.expat import ParserCreate

import pytest

from tests.benchmarks import plots, svg
from tests.support.generated_docs import PERFORMANCE

RESULT = {
    "date": "2026-01-31T12:00:00+00:00",
    "scale": "quick",
    "machine": {"cpu": "Abacus <with beads>", "cores": 2, "memory_gib": 0.5},
    "ratios": {"end_to_end_vs_stock_faust_noop": 2.5, "abacus_vs_fingers": 10.0},
    "sections": [
        {
            "title": "Latency in to out at 100/s, 600 essays",
            "figures": [{"name": "p50", "value": 7.0, "unit": "ms"}],
            "series": {"latency_at_100": [1.0, 5.0, 7.0, 90.0]},
        }
    ],
}


def test_the_page_has_a_place_for_the_results() -> None:
    page = plots.rewritten(PERFORMANCE.read_text(), RESULT)

    assert "| `end_to_end_vs_stock_faust_noop` | 2.50 | ≥ 2 |" in page
    assert "`make bench-quick` on: Abacus" in page
    assert "| `abacus_vs_fingers` | 10.00 |  |" in page
    assert plots.rewritten(page, RESULT) == page


def test_a_page_without_that_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        plots.rewritten("# els_stream", RESULT)


def test_the_bar_of_a_ratio_of_two_is_twice_as_long_as_that_of_one() -> None:
    elements, _ = parsed(svg.bars("t", "u", [("twice", 2.0), ("as long", 1.0)]))

    twice, once = [float(attributes["width"]) for name, attributes in elements if name == "rect"]
    assert twice == pytest.approx(2 * once, abs=0.1)


@pytest.mark.parametrize("picture", [plots.bars, plots.curves])
def test_pictures_are_well_formed_also_without_results(picture: plots.Picture) -> None:
    for result in (RESULT, RESULT | {"ratios": {}, "sections": []}):
        elements, _ = parsed(picture(result))
        assert elements[0][0] == "svg"


def test_the_highest_value_of_a_strip_is_not_rounded_to_nothing() -> None:
    _, text = parsed(svg.strips("t", {"cores": [(0, 0.2), (60, 0.356)], "lag": [(0, 1), (60, 1234.5)]}))

    assert "0.36" in text
    assert "1,234" in text


def test_text_in_a_picture_is_escaped() -> None:
    _, text = parsed(svg.bars("<script>&", "u", [("<b>", 1.0)]))

    assert "<script>&" in text
    assert "<b>" in text


def parsed(picture: str) -> tuple[list[tuple[str, dict[str, str]]], str]:
    """Return the elements with their attributes, and all text; raises if the XML is not well-formed."""
    elements: list[tuple[str, dict[str, str]]] = []
    text: list[str] = []
    parser = ParserCreate()
    parser.StartElementHandler = lambda name, attributes: elements.append((name, attributes))
    parser.CharacterDataHandler = text.append
    parser.ParseFile(BytesIO(picture.encode()))
    return elements, "".join(text)

"""The picture of the dashboard shows the series that move, and is of the dashboard as it is."""

from __future__ import annotations

import re
from html import escape, unescape
from io import BytesIO
from xml.parsers.expat import ParserCreate

from tests.support import grafana
from tests.support.dashboard_picture import PICTURE, TITLE
from tests.support.generated_docs import DOCS
from tests.support.panel_charts import Chart, Curve, picture


def texts(svg: str) -> list[str]:
    """Return the texts of a well-formed picture."""
    ParserCreate().ParseFile(BytesIO(svg.encode()))
    return [unescape(text) for text in re.findall(r">([^<]*)</text>", svg)]


def test_series_that_move_are_drawn_and_the_others_are_counted() -> None:
    curves = [
        Curve("moves <b>", {0.0: 1.0, 2.0: 4.0}),
        Curve("begins late", {1.0: 2.0, 2.0: 2.0}),
        *(Curve(f"rests {number}", {0.0: 0.0}) for number in range(3)),
    ]

    svg = picture(
        "t", [Chart("Lag", "short", curves), Chart("Age", "s", [Curve("x", {0.0: 0.25})], is_number=True)], 0, 2
    )

    assert texts(svg) == ["Lag", "at most 4", "moves <b>: 4", "begins late: 2", "3 more", "Age", "250 ms"]
    assert re.findall(r' d="([^"]+)"', svg) == ["M0 87.0M400 24.0", "M200 66.0L400 66.0"]


def test_a_chart_whose_series_are_all_0_says_so() -> None:
    assert texts(picture("t", [Chart("Retries", "cps", [Curve("a", {0.0: 0.0})])], 0, 2)) == [
        "Retries",
        "at most 0/s",
        "1 series, all 0",
    ]


def test_the_picture_is_of_this_dashboard_and_the_page_shows_it() -> None:
    drawn = PICTURE.read_text()

    assert f"<title>{TITLE}</title>" in drawn
    assert [panel.title for panel in grafana.PANELS if f">{escape(panel.title)}</text>" not in drawn] == [], (
        "run `make dashboard-picture`"
    )
    assert "](dashboard.svg)" in (DOCS / "monitoring.md").read_text()

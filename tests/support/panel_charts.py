"""Draws the panels of a dashboard with their series as one SVG, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate, pairwise
from typing import Final

COLUMNS: Final = 3
WIDTH: Final = 400
GAP: Final = 16
TITLE_HEIGHT: Final = 24
PLOT_HEIGHT: Final = 84
LEGEND_ROW: Final = 16
SHOWN: Final = 5
COLOURS: Final = "abcde"
STYLE: Final = """<style>
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-weight: 600 } .quiet { fill: #6e7781 } .number { font-size: 30px; font-weight: 600 }
.line { stroke: #d0d7de } .curve { fill: none; stroke-width: 1.5 }
.a { stroke: #2f6f4f } .b { stroke: #b4541a } .c { stroke: #33728a } .d { stroke: #8250a8 } .e { stroke: #946c00 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .quiet { fill: #9198a1 } .line { stroke: #3d444d }
  .a { stroke: #57ab7f } .b { stroke: #e08a4f } .c { stroke: #74b3cb } .d { stroke: #b48ee0 } .e { stroke: #d4a72c }
}
</style>"""


@dataclass(frozen=True, slots=True)
class Curve:
    """A series; `values` by time. A gap is a time of another curve that it has no value at."""

    name: str
    values: Mapping[float, float]

    @property
    def highest(self) -> float:
        return max(self.values.values(), default=0.0)

    @property
    def last(self) -> float:
        return self.values[max(self.values)]


@dataclass(frozen=True, slots=True)
class Chart:
    """A panel; one without a plot shows its last value as a number."""

    title: str
    unit: str
    curves: Sequence[Curve]
    is_number: bool = False


def picture(title: str, charts: Sequence[Chart], start: float, end: float) -> str:
    """Return the charts in three columns. Series that are 0 all the time are only counted."""
    rows = [charts[at : at + COLUMNS] for at in range(0, len(charts), COLUMNS)]
    tops = list(accumulate((_height(row) + GAP for row in rows), initial=GAP))
    width = COLUMNS * (WIDTH + GAP) + GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {tops[-1]}" role="img">',
        f"<title>{escape(title)}</title>",
        STYLE,
    ]
    for row, top in zip(rows, tops, strict=False):
        for column, chart in enumerate(row):
            lines += [f'<g transform="translate({GAP + column * (WIDTH + GAP)} {top})">']
            lines += [*(_number(chart) if chart.is_number else _plot(chart, start, end)), "</g>"]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _height(row: Sequence[Chart]) -> int:
    if all(chart.is_number for chart in row):
        return TITLE_HEIGHT + 40
    return TITLE_HEIGHT + PLOT_HEIGHT + LEGEND_ROW * (1 + max(len(_legend(chart)) for chart in row))


def _shown(chart: Chart) -> list[Curve]:
    moving = (curve for curve in chart.curves if curve.highest > 0)
    return sorted(moving, key=lambda curve: -curve.highest)[:SHOWN]


def _legend(chart: Chart) -> list[str]:
    shown = [f"{curve.name}: {_amount(curve.last, chart.unit)}" for curve in _shown(chart)]
    others = len(chart.curves) - len(shown)
    return [*shown, f"{others} more"] if shown and others else shown or [f"{others} series, all 0"]


def _number(chart: Chart) -> Iterator[str]:
    yield _text(0, 14, chart.title, "title")
    yield from (_text(0, 50, _amount(curve.last, chart.unit), "number") for curve in chart.curves)


def _plot(chart: Chart, start: float, end: float) -> Iterator[str]:
    shown = _shown(chart)
    top = max((curve.highest for curve in shown), default=0.0)
    bottom = TITLE_HEIGHT + PLOT_HEIGHT
    yield _text(0, 14, chart.title, "title")
    yield _text(WIDTH, bottom + LEGEND_ROW, f"at most {_amount(top, chart.unit)}", "quiet", anchor="end")
    yield f'<line class="line" x1="0" y1="{bottom}" x2="{WIDTH}" y2="{bottom}"/>'
    times = sorted({at for curve in chart.curves for at in curve.values})
    for curve, colour in zip(shown, COLOURS, strict=False):
        points = [
            (WIDTH * (at - start) / (end - start), bottom - PLOT_HEIGHT * curve.values[at] / top)
            if at in curve.values
            else None
            for at in times
        ]
        yield f'<path class="curve {colour}" d="{_path(points)}"/>'
    for number, line in enumerate(_legend(chart)):
        y = bottom + LEGEND_ROW * (number + 1)
        if number < len(shown):
            yield f'<line class="curve {COLOURS[number]}" x1="0" y1="{y - 4}" x2="12" y2="{y - 4}"/>'
        yield _text(18, y, line, "quiet")


def _path(points: Sequence[tuple[float, float] | None]) -> str:
    """Return a line through the points, interrupted where there is none."""
    steps = []
    for before, point in pairwise([None, *points]):
        if point is not None:
            steps.append(f"{'L' if before else 'M'}{point[0]:.0f} {point[1]:.1f}")
    return "".join(steps)


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1000:,.0f} ms" if 0 < value < 1 else f"{value:,.1f} s"
    number = f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:,.2f}"
    return f"{number}/s" if unit == "cps" else number


def _text(x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'

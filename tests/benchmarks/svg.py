"""Draws charts as SVG without a library, readable on light and dark pages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Final

WIDTH: Final = 720
LEFT: Final = 210
RIGHT: Final = 60
TOP: Final = 56
ROW: Final = 28
PLOT_HEIGHT: Final = 220
STRIP: Final = 46
TICKS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
TICKS_SHARE: Final = (0, 25, 50, 75, 100)
BINS: Final = 20
STYLE: Final = """<style>
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.quiet { fill: #6e7781; font-size: 12px }
.line { stroke: #d0d7de; stroke-width: 1 }
.one { stroke: #24292f; stroke-width: 1.5; stroke-dasharray: 4 3 }
.a { fill: #2f6f4f; stroke: #2f6f4f } .b { fill: #b4541a; stroke: #b4541a }
.curve { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .quiet { fill: #9198a1 } .line { stroke: #3d444d } .one { stroke: #e6edf3 }
  .a { fill: #57ab7f; stroke: #57ab7f } .b { fill: #e08a4f; stroke: #e08a4f }
}
</style>"""


def bars(title: str, unit: str, rows: Sequence[tuple[str, float]]) -> str:
    """Return a bar chart, with a dashed line at 1, which is labelled `unit`."""
    longest = max([1.0, *(value for _, value in rows)])
    scale = (WIDTH - LEFT - RIGHT) / longest
    bottom = TOP + ROW * len(rows)
    return _picture(title, bottom + 34, _bars(rows, scale, unit, bottom))


def counts(title: str, rows: Sequence[tuple[str, int]]) -> str:
    """Return a bar for each count; its length is the logarithm, so that rare cases are seen beside frequent ones."""
    return _picture(title, TOP + ROW * len(rows) + 12, _counts(rows))


def curves(title: str, lines: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Return a chart of the ratio of values below each number of milliseconds; the axis is logarithmic."""
    low = min((values[0] for _, values in lines), default=1.0)
    high = max((values[-1] for _, values in lines), default=10.0)
    first = max((tick for tick in TICKS_MS if tick <= low), default=TICKS_MS[0])
    last = min((tick for tick in TICKS_MS if tick >= high), default=TICKS_MS[-1])
    axis = _Axis(first, max(last, first * 2))
    return _picture(title, TOP + PLOT_HEIGHT + 34 + 20 * len(lines), _curves(lines, axis))


def timeline(title: str, values: Sequence[tuple[float, float]], moments: Sequence[tuple[str, float]]) -> str:
    """Return a line of (seconds, value) with a tick at each named moment; one row of ticks for each name."""
    names = sorted({name for name, _ in moments})
    return _picture(title, TOP + PLOT_HEIGHT + 34 + 20 * len(names), _timeline(values, moments, names))


def strips(title: str, lines: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return a small line of (seconds, value) for each name, from 0 to its highest value, which is on the right."""
    return _picture(title, TOP + STRIP * len(lines) + 24, _strips(lines))


def histogram(title: str, values: Sequence[float]) -> str:
    """Return the number of values in each of BINS equal intervals from 0 to the largest."""
    return _picture(title, TOP + PLOT_HEIGHT + 34, _histogram(values))


class _Axis:
    def __init__(self, first: float, last: float) -> None:
        self.first, self.last = first, last

    def x(self, milliseconds: float) -> float:
        inside = min(max(milliseconds, self.first), self.last)
        return RIGHT + (WIDTH - 2 * RIGHT) * math.log(inside / self.first) / math.log(self.last / self.first)

    def ticks(self) -> Iterator[int]:
        return (tick for tick in TICKS_MS if self.first <= tick <= self.last)


def _picture(title: str, height: float, parts: Iterable[str]) -> str:
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img">',
        f"<title>{escape(title)}</title>",
        STYLE,
        _text(16, 26, title, "title"),
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _bars(rows: Sequence[tuple[str, float]], scale: float, unit: str, bottom: float) -> Iterator[str]:
    for number, (label, value) in enumerate(rows):
        y = TOP + ROW * number
        yield _text(LEFT - 10, y + 16, label, anchor="end")
        yield f'<rect class="a" x="{LEFT}" y="{y + 3}" width="{value * scale:.1f}" height="{ROW - 10}" rx="2"/>'
        yield _text(WIDTH - 16, y + 16, f"{value:.2f}", anchor="end")
    one = LEFT + scale
    yield f'<line class="one" x1="{one:.1f}" y1="{TOP - 8}" x2="{one:.1f}" y2="{bottom + 6:.0f}"/>'
    yield _text(one, bottom + 22, f"1 = {unit}", "quiet", anchor="middle")


def _counts(rows: Sequence[tuple[str, int]]) -> Iterator[str]:
    scale = (WIDTH - LEFT - 2 * RIGHT) / math.log10(max([1, *(count for _, count in rows)]) + 1)
    for number, (label, count) in enumerate(rows):
        y = TOP + ROW * number
        width = math.log10(count + 1) * scale
        yield _text(LEFT - 10, y + 16, label, anchor="end")
        yield f'<rect class="a" x="{LEFT}" y="{y + 3}" width="{width:.1f}" height="{ROW - 10}" rx="2"/>'
        yield _text(LEFT + width + 8, y + 16, f"{count:,}")


def _curves(lines: Sequence[tuple[str, Sequence[float]]], axis: _Axis) -> Iterator[str]:
    bottom = TOP + PLOT_HEIGHT
    for tick in axis.ticks():
        x = axis.x(tick)
        yield f'<line class="line" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{bottom}"/>'
        yield _text(x, bottom + 18, f"{tick} ms", "quiet", anchor="middle")
    for share in TICKS_SHARE:
        y = bottom - PLOT_HEIGHT * share / 100
        yield f'<line class="line" x1="{RIGHT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield _text(RIGHT - 8, y + 4, f"{share} %", "quiet", anchor="end")
    for number, ((label, values), colour) in enumerate(zip(lines, "ab", strict=False)):
        steps = enumerate(values, start=1)
        points = " ".join(f"{axis.x(at):.1f},{bottom - PLOT_HEIGHT * n / len(values):.1f}" for n, at in steps)
        yield f'<polyline class="curve {colour}" style="fill: none" points="{points}"/>'
        yield f'<rect class="{colour}" x="{RIGHT}" y="{bottom + 32 + 20 * number}" width="12" height="12"/>'
        yield _text(RIGHT + 20, bottom + 43 + 20 * number, label)


def _timeline(
    values: Sequence[tuple[float, float]], moments: Sequence[tuple[str, float]], names: Sequence[str]
) -> Iterator[str]:
    end = max([1.0, *(at for at, _ in values), *(at for _, at in moments)])
    top = max([1.0, *(value for _, value in values)])
    bottom = TOP + PLOT_HEIGHT

    def x(at: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * at / end

    for share in TICKS_SHARE:
        y = bottom - PLOT_HEIGHT * share / 100
        yield f'<line class="line" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>'
        yield _text(LEFT - 8, y + 4, f"{top * share / 100:,.0f}", "quiet", anchor="end")
    points = " ".join(f"{x(at):.1f},{bottom - PLOT_HEIGHT * value / top:.1f}" for at, value in values)
    yield f'<polyline class="curve a" style="fill: none" points="{points}"/>'
    yield _text(x(end), bottom + 18, f"{end:,.0f} s", "quiet", anchor="end")
    for row, name in enumerate(names):
        y = bottom + 40 + 20 * row
        yield _text(LEFT - 8, y + 4, name, "quiet", anchor="end")
        for at in (at for other, at in moments if other == name):
            yield f'<line class="b" x1="{x(at):.1f}" y1="{y - 6}" x2="{x(at):.1f}" y2="{y + 6}"/>'


def _strips(lines: Mapping[str, Sequence[tuple[float, float]]]) -> Iterator[str]:
    end = max([1.0, *(at for values in lines.values() for at, _ in values)])
    right = WIDTH - RIGHT - 30
    for row, (name, values) in enumerate(lines.items()):
        bottom, top = TOP + STRIP * (row + 1) - 8, max([1e-9, *(value for _, value in values)])
        points = " ".join(
            f"{LEFT + (right - LEFT) * at / end:.1f},{bottom - (STRIP - 12) * value / top:.1f}" for at, value in values
        )
        yield f'<line class="line" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>'
        yield f'<polyline class="curve a" style="fill: none" points="{points}"/>'
        yield _text(LEFT - 10, bottom - 8, name, anchor="end")
        yield _text(right + 10, bottom - STRIP + 22, f"{top:,.0f}" if top >= 10 else f"{top:.2g}", "quiet")
    yield _text(right, TOP + STRIP * len(lines) + 14, f"{end / 60:,.0f} minutes", "quiet", anchor="end")


def _histogram(values: Sequence[float]) -> Iterator[str]:
    width = max([*values, 0.001]) / BINS
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, int(value / width))] += 1
    bottom, step = TOP + PLOT_HEIGHT, (WIDTH - 2 * RIGHT) / BINS
    for number, count in enumerate(counts):
        height = (PLOT_HEIGHT - 20) * count / max(counts)
        at = RIGHT + number * step
        yield f'<rect class="a" x="{at:.1f}" y="{bottom - height:.1f}" width="{step - 2:.1f}" height="{height:.1f}"/>'
        if count:
            yield _text(at + step / 2, bottom - height - 4, str(count), "quiet", anchor="middle")
    yield _text(RIGHT, bottom + 18, "0 s", "quiet")
    yield _text(WIDTH - RIGHT, bottom + 18, f"{width * BINS:.2f} s", "quiet", anchor="end")


def _text(x: float, y: float, text: str, kind: str = "", *, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'

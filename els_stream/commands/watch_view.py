"""One frame of `els watch`: the page's main figures, as many batches as fit below them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from els_stream.printable import plain
from els_stream.queries.outbox import SHARES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from els_stream.commands.watch_data import WatchData
    from els_stream.queries.dashboard import DashboardSnapshot
    from els_stream.queries.listing import BatchLine
    from els_stream.queries.stats import Stats

BLOCKS: Final = "▁▂▃▄▅▆▇█"
SPARK: Final = 36
BAR: Final = 14
LINES_AROUND: Final = 16
FEWEST: Final = 3
STATES: Final = {
    "unregistered": "not registered",
    "open": "filling",
    "content_complete": "waits for students",
    "completed": "done",
    "purged": "purged",
}
COLOURS: Final = {"open": "cyan", "content_complete": "cyan", "completed": "green"}
UNITS: Final = ((172_800.0, 86_400, "days"), (7_200.0, 3_600, "h"), (120.0, 60, "min"))


def frame(seen: WatchData, height: int) -> RenderableType:
    """Fits `height` lines, unless that is less than a few batches need."""
    parts: list[RenderableType] = [_verdict(seen), ""]
    if seen.figures is not None:
        parts += [_tiles(seen.figures, seen.status), "", _charts(seen), ""]
    if seen.glance is not None and seen.now is not None:
        parts += [*_workings(seen, seen.glance, seen.now), ""]
        parts.append(_batches(seen.batches[: max(FEWEST, height - LINES_AROUND)], seen.now))
    return Group(*parts)


def _verdict(seen: WatchData) -> Text:
    line = Text("els_stream  ", style="bold")
    if seen.trouble is not None:
        age = "" if seen.figures is None else "; what you see is out of date"
        return line.append(f"● the database does not answer: {seen.trouble}{age}", style="red")
    if seen.status is None:
        return line.append(f"● no worker answers at {seen.url}; this is of the database alone", style="yellow")
    reasons = [f"{plain(reason['code'])} ({plain(reason['detail'])})" for reason in seen.status["not_ready"]]
    if reasons:
        return line.append(f"● not ready: {'; '.join(reasons)}", style="yellow")
    worker = seen.status["worker"]
    line.append("● ready", style="green")
    return line.append(f"  {seen.url}: {worker['host']}, process {worker['pid']}", style="dim")


def _tiles(figures: Stats, status: Mapping[str, object] | None) -> Table:
    parked, letters = sum(figures.parked.values()), sum(figures.dead_letters.values())
    tiles = (
        ("active batches", sum(figures.active.values()), _counts(figures.active)),
        ("completed", sum(figures.completed.values()), _counts(figures.completed)),
        ("parked events", parked, f"oldest {duration(figures.parked_oldest_seconds)}" if parked else "-"),
        ("outbox", figures.outbox_rows, _outbox(figures)),
        ("to handle", _to_handle(status), "by that worker"),
        ("dead letters", letters, _counts({k: n for k, n in figures.dead_letters.items() if n}) or "none is open"),
    )
    table = Table.grid(padding=(0, 3, 0, 0), expand=True)
    for _ in range(3):
        table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    for row in (tiles[:3], tiles[3:]):
        table.add_row(*(Text.assemble((f"{name} ", "dim"), (str(count), "bold")) for name, count, _ in row))
        table.add_row(*(Text(note, style="dim") for _, _, note in row))
    return table


def _counts(counts: Mapping[str, int]) -> str:
    return " · ".join(f"{name.replace('_', ' ')} {count}" for name, count in counts.items())


def _outbox(figures: Stats) -> str:
    if figures.outbox_held:
        return f"{figures.outbox_held} can't be sent"
    return f"oldest {duration(figures.outbox_oldest_seconds)}" if figures.outbox_rows else "everything is sent"


def _to_handle(status: Mapping[str, object] | None) -> str:
    lag = None if status is None else status["lag"]
    return str(sum(part["records"] for part in lag)) if isinstance(lag, list) else "?"


def _charts(seen: WatchData) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    rows = (
        ("intake per second", [step.intake_per_second for step in seen.steps], "{:.1f}".format),
        ("last content to completion", [step.completion_seconds for step in seen.steps], duration),
        ("age of the outbox", [step.outbox_oldest_seconds for step in seen.steps], duration),
    )
    for name, values, told in rows:
        known = [value for value in values if value is not None]
        last, most = (told(known[-1]), f"at most {told(max(known))}") if known else ("-", "nothing yet")
        table.add_row(Text(name, style="dim"), Text(last, style="bold"), Text(spark(values), "cyan"), Text(most, "dim"))
    return table


def spark(values: Sequence[float | None], width: int = SPARK) -> str:
    """The last of them, the highest of each few; a gap where nothing is known."""
    each = max(1, -(-len(values) // width))
    groups = [[v for v in values[start : start + each] if v is not None] for start in range(0, len(values), each)]
    highest = max((max(group) for group in groups if group), default=0.0) or 1.0
    return "".join(BLOCKS[round(max(group) / highest * (len(BLOCKS) - 1))] if group else " " for group in groups)


def _workings(seen: WatchData, glance: DashboardSnapshot, now: datetime) -> Iterator[Text]:
    relay = None if seen.status is None else seen.status["relay"]
    if relay is not None:
        yield _fact(
            "relay", f"{relay['shards']} of {SHARES} shards, {relay['acked']} acknowledged, {relay['refused']} refused"
        )
    if glance.ledger:
        moved = max(place.updated_at for place in glance.ledger)
        yield _fact("ledger", f"{sum(place.next_offset for place in glance.ledger)} handled, moved {_ago(moved, now)}")
    last = next(iter(glance.purges), None)
    if last is None:
        yield _fact("purge", "none yet")
        return
    when = f"ended {_ago(last.finished_at, now)}" if last.finished_at else f"began {_ago(last.started_at, now)}"
    yield _fact("purge", f"{last.action.replace('_', ' ')}, {last.batches} batches, {when}")


def _fact(name: str, what: str) -> Text:
    return Text.assemble((f"{name:<8}", "dim"), what, no_wrap=True, overflow="ellipsis")


def _batches(batches: Sequence[BatchLine], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True, header_style="dim")
    table.add_column("batch", no_wrap=True, overflow="ellipsis", ratio=1)
    for name in ("", "slots", "state", "age"):
        table.add_column(name, no_wrap=True)
    for batch in batches:
        state = "overdue" if batch.state == "open" and batch.timed_out_at else STATES[batch.state]
        colour = "red" if state == "overdue" else COLOURS.get(batch.state, "dim")
        table.add_row(
            Text(plain(batch.batch_id)), bar(batch), _slots(batch), Text(state, colour), _ago(batch.created_at, now)
        )
    if not batches:
        table.add_row(Text("no batch yet", style="dim"))
    return table


def bar(batch: BatchLine) -> Text:
    if not batch.expected:
        return Text("·" * BAR, style="dim")
    filled = round(BAR * batch.filled / batch.expected)
    held = round(BAR * (batch.filled + batch.failed) / batch.expected)
    return Text.assemble(("█" * filled, "green"), ("█" * (held - filled), "red"), ("░" * (BAR - held), "dim"))


def _slots(batch: BatchLine) -> str:
    if batch.expected is None:
        return f"{batch.parked} parked"
    return f"{batch.filled} of {batch.expected}" + (f", {batch.failed} failed" if batch.failed else "")


def duration(seconds: float) -> str:
    for least, unit, name in UNITS:
        if seconds >= least:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 or seconds == 0 else f"{seconds * 1000:.0f} ms"


def _ago(time: datetime, now: datetime) -> str:
    return f"{duration(max(0.0, round((now - time).total_seconds())))} ago"

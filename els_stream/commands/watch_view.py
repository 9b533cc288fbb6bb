"""Render `els watch`: the page's main numbers, and as many batches as fit below them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from els_stream.printable import plain
from els_stream.queries.outbox_rows import SHARD_COUNT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from rich.console import RenderableType

    from els_stream.commands.watch_data import WatchData
    from els_stream.queries.dashboard import DashboardSnapshot
    from els_stream.queries.listing import BatchSummary
    from els_stream.queries.stats import Stats

BLOCKS: Final = "▁▂▃▄▅▆▇█"
SPARKLINE_WIDTH: Final = 36
BAR_WIDTH: Final = 14
OTHER_LINES: Final = 16
MIN_BATCHES: Final = 3
STATES: Final = {
    "unregistered": "not registered",
    "open": "filling",
    "content_complete": "waits for students",
    "completed": "done",
    "purged": "purged",
}
COLOURS: Final = {"open": "cyan", "content_complete": "cyan", "completed": "green"}
UNITS: Final = ((172_800.0, 86_400, "days"), (7_200.0, 3_600, "h"), (120.0, 60, "min"))


def render(data: WatchData, height: int) -> RenderableType:
    """Render `data` in at most `height` lines, or more if MIN_BATCHES do not fit."""
    parts: list[RenderableType] = [_health(data), ""]
    if data.stats is not None:
        parts += [_tiles(data.stats, data.status), "", _charts(data), ""]
    if data.snapshot is not None and data.now is not None:
        parts += [*_components(data, data.snapshot, data.now), ""]
        parts.append(_batches(data.batches[: max(MIN_BATCHES, height - OTHER_LINES)], data.now))
    return Group(*parts)


def _health(data: WatchData) -> Text:
    line = Text("els_stream  ", style="bold")
    if data.error is not None:
        stale = "" if data.stats is None else "; the data below is out of date"
        return line.append(f"● the database does not answer: {data.error}{stale}", style="red")
    if data.status is None:
        return line.append(f"● no worker answers at {data.url}; the data is from the database only", style="yellow")
    reasons = [f"{plain(reason['code'])} ({plain(reason['detail'])})" for reason in data.status["not_ready"]]
    if reasons:
        return line.append(f"● not ready: {'; '.join(reasons)}", style="yellow")
    worker = data.status["worker"]
    line.append("● ready", style="green")
    return line.append(f"  {data.url}: {worker['host']}, process {worker['pid']}", style="dim")


def _tiles(stats: Stats, status: Mapping[str, object] | None) -> Table:
    pending, dead_letters = sum(stats.pending.values()), sum(stats.dead_letters.values())
    open_reasons = _counts({reason: count for reason, count in stats.dead_letters.items() if count})
    tiles = (
        ("active batches", sum(stats.active.values()), _counts(stats.active)),
        ("completed", sum(stats.completed.values()), _counts(stats.completed)),
        ("pending events", pending, f"oldest {duration(stats.pending_oldest_seconds)}" if pending else "-"),
        ("outbox", stats.outbox_rows, _outbox(stats)),
        ("records to process", _records_to_process(status), "by that worker"),
        ("dead letters", dead_letters, open_reasons or "none is open"),
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


def _outbox(stats: Stats) -> str:
    if stats.outbox_deferred:
        return f"{stats.outbox_deferred} could not be published"
    return f"oldest {duration(stats.outbox_oldest_seconds)}" if stats.outbox_rows else "all events are published"


def _records_to_process(status: Mapping[str, object] | None) -> str:
    lag = None if status is None else status["lag"]
    return str(sum(partition["records"] for partition in lag)) if isinstance(lag, list) else "?"


def _charts(data: WatchData) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    rows = (
        ("records processed per second", [sample.records_per_second for sample in data.samples], "{:.1f}".format),
        ("last content to completion", [sample.completion_seconds for sample in data.samples], duration),
        ("oldest event in the outbox", [sample.outbox_oldest_seconds for sample in data.samples], duration),
    )
    for name, values, as_text in rows:
        known = [value for value in values if value is not None]
        last, highest = (as_text(known[-1]), f"at most {as_text(max(known))}") if known else ("-", "no data yet")
        table.add_row(
            Text(name, style="dim"), Text(last, style="bold"), Text(sparkline(values), "cyan"), Text(highest, "dim")
        )
    return table


def sparkline(values: Sequence[float | None], width: int = SPARKLINE_WIDTH) -> str:
    """Return at most `width` blocks, each the highest of its group of values, or a space if none is known."""
    each = max(1, -(-len(values) // width))
    groups = [[v for v in values[start : start + each] if v is not None] for start in range(0, len(values), each)]
    highest = max((max(group) for group in groups if group), default=0.0) or 1.0
    return "".join(BLOCKS[round(max(group) / highest * (len(BLOCKS) - 1))] if group else " " for group in groups)


def _components(data: WatchData, snapshot: DashboardSnapshot, now: datetime) -> Iterator[Text]:
    relay = None if data.status is None else data.status["relay"]
    if relay is not None:
        yield _fact(
            "relay",
            f"{relay['shards']} of {SHARD_COUNT} shards, {relay['acked']} published, {relay['rejected']} rejected",
        )
    if snapshot.offsets:
        records = sum(stored.next_offset for stored in snapshot.offsets)
        last = max(stored.updated_at for stored in snapshot.offsets)
        yield _fact("input", f"{records} records processed, the last {_ago(last, now)}")
    purge = next(iter(snapshot.purges), None)
    if purge is None:
        yield _fact("purge", "none yet")
        return
    when = f"finished {_ago(purge.finished_at, now)}" if purge.finished_at else f"started {_ago(purge.started_at, now)}"
    yield _fact("purge", f"{purge.action.replace('_', ' ')}, {purge.batches} batches, {when}")


def _fact(name: str, text: str) -> Text:
    return Text.assemble((f"{name:<8}", "dim"), text, no_wrap=True, overflow="ellipsis")


def _batches(batches: Sequence[BatchSummary], now: datetime) -> Table:
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


def bar(batch: BatchSummary) -> Text:
    """Return a bar of BAR_WIDTH characters with the filled, failed and free slots."""
    if not batch.expected:
        return Text("·" * BAR_WIDTH, style="dim")
    filled = round(BAR_WIDTH * batch.filled / batch.expected)
    taken = round(BAR_WIDTH * (batch.filled + batch.failed) / batch.expected)
    return Text.assemble(("█" * filled, "green"), ("█" * (taken - filled), "red"), ("░" * (BAR_WIDTH - taken), "dim"))


def _slots(batch: BatchSummary) -> str:
    if batch.expected is None:
        return f"{batch.pending} pending"
    return f"{batch.filled} of {batch.expected}" + (f", {batch.failed} failed" if batch.failed else "")


def duration(seconds: float) -> str:
    """Return a rounded duration with one unit, from ms to days."""
    for least, unit, name in UNITS:
        if seconds >= least:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 or seconds == 0 else f"{seconds * 1000:.0f} ms"


def _ago(time: datetime, now: datetime) -> str:
    return f"{duration(max(0.0, round((now - time).total_seconds())))} ago"

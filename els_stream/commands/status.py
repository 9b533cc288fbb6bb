from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from els_stream.commands.database_access import snapshot
from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import Settings, load_settings
from els_stream.embedded.discovery import resolve
from els_stream.errors import ServersUnavailable
from els_stream.events.topics import INPUT_TOPICS
from els_stream.kafka.log_offsets import lag, read_logs
from els_stream.kafka.offsets import Partition
from els_stream.queries.status_report import CountWithAge, StatusReport, read_status_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@click.command(epilog=exit_codes())
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def status(*, as_json: bool) -> None:
    """Count everything: batches, slots, what is parked, unsent or refused, and how far the input was handled.

    The lag needs the broker; without it the rest is told.

    Example: els status --json
    """
    settings = resolve(load_settings())
    overview, trouble = asyncio.run(_ask(settings))
    if as_json:
        click.echo(json.dumps({**asdict(overview), "broker": trouble or "answers"}, default=str, indent=2))
        return
    console = Console(highlight=False, markup=False)
    outbox = overview.outbox
    for part in (
        _batches(overview),
        _aged("parked", overview.pending),
        _aged("open dead letters", overview.dead_letters),
        f"outbox: {outbox.rows} waiting, {outbox.held} held, the oldest {_age(outbox.oldest_seconds)}",
        _ledger(overview, settings.topic_prefix),
    ):
        console.print(part, end="\n\n" if isinstance(part, str) else "\n")
    if trouble:
        click.echo(f"els: no lag is known: {trouble}", err=True)


async def _ask(settings: Settings) -> tuple[StatusReport, str | None]:
    async with snapshot(settings) as conn:
        overview = await read_status_report(conn, settings.consumer_group)
    positions = {Partition(place.topic, place.partition): place.next_offset for place in overview.offsets}
    try:
        lag = await _lag(settings, positions)
    except ServersUnavailable as away:
        return overview, str(away)
    placed = [replace(place, lag=lag.get(Partition(place.topic, place.partition))) for place in overview.offsets]
    return replace(overview, offsets=placed), None


async def _lag(settings: Settings, positions: Mapping[Partition, int]) -> dict[Partition, int]:
    logs = await read_logs(settings.broker, [settings.topic_prefix + topic for topic in INPUT_TOPICS])
    return await lag(settings.broker, logs, positions)


def _batches(overview: StatusReport) -> Table:
    table = _table("batches", "state", "batches", "slots", "filled", "failed", "free", "timed out", "conflicting")
    for row in overview.batches:
        counts = (row.batches, row.slots, row.filled, row.failed, row.free, row.timed_out, row.conflicting)
        table.add_row(row.class_type or "-", row.state, *map(str, counts))
    return table


def _aged(what: str, rows: Sequence[CountWithAge]) -> Table:
    table = _table(what, "count", "oldest")
    for row in rows:
        table.add_row(row.name, str(row.count), _age(row.oldest_seconds))
    if not rows:
        table.add_row("none", "0", "-")
    return table


def _ledger(overview: StatusReport, prefix: str) -> Table:
    table = _table("handled", "partition", "next offset", "lag")
    for place in overview.offsets:
        lag = "?" if place.lag is None else str(place.lag)
        table.add_row(place.topic.removeprefix(prefix), str(place.partition), str(place.next_offset), lag)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="left" if heading == "state" else "right")
    return table


def _age(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))

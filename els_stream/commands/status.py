from __future__ import annotations

import asyncio
import json
from dataclasses import asdict, dataclass, replace
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
from els_stream.kafka.topics import missing_topics
from els_stream.printable import plain
from els_stream.queries.status_report import CountWithAge, StatusReport, read_status_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@click.command(epilog=exit_codes())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def status(*, as_json: bool) -> None:
    """Show counts and consumer lag.

    Counts batches, slots, pending events, outbox events and open dead letters. The lag needs the broker; if it does not
    answer, the rest is shown.

    Example: els status --json
    """
    settings = resolve(load_settings())
    report, broker = asyncio.run(_read(settings))
    if as_json:
        shown = {**asdict(report), "broker_error": broker.error, "missing_topics": broker.missing_topics}
        click.echo(json.dumps(shown, default=str, indent=2))
        return
    console = Console(highlight=False, markup=False)
    outbox = report.outbox
    for section in (
        _batches(report),
        _counts("pending events", report.pending),
        _counts("open dead letters", report.dead_letters),
        *_drift(report),
        f"outbox: {outbox.rows} waiting, {outbox.deferred} deferred, the oldest {_age(outbox.oldest_seconds)}",
        _offsets(report, settings.topic_prefix),
    ):
        console.print(section, end="\n\n" if isinstance(section, str) else "\n")
    if broker.error:
        click.echo(f"els: the lag is unknown: {broker.error}", err=True)
    if broker.missing_topics:
        click.echo(f"els: create the missing topics with els topics: {', '.join(broker.missing_topics)}", err=True)


@dataclass(frozen=True, slots=True)
class BrokerAnswer:
    """The topics of the service that do not exist, or the error if the broker did not answer."""

    missing_topics: Sequence[str] = ()
    error: str | None = None


async def _read(settings: Settings) -> tuple[StatusReport, BrokerAnswer]:
    """Return the report, and what the broker answered; if it did not, the lags are None."""
    async with snapshot(settings) as conn:
        report = await read_status_report(conn, settings.consumer_group)
    next_offsets = {Partition(stored.topic, stored.partition): stored.next_offset for stored in report.offsets}
    try:
        missing = await missing_topics(settings.broker, settings.topic_prefix)
        lags = await _lags(settings, next_offsets)
    except ServersUnavailable as error:
        return report, BrokerAnswer(error=str(error))
    offsets = [replace(stored, lag=lags.get(Partition(stored.topic, stored.partition))) for stored in report.offsets]
    return replace(report, offsets=offsets), BrokerAnswer(missing)


async def _lags(settings: Settings, next_offsets: Mapping[Partition, int]) -> dict[Partition, int]:
    logs = await read_logs(settings.broker, [settings.topic_prefix + topic for topic in INPUT_TOPICS])
    return await lag(settings.broker, logs, next_offsets)


def _batches(report: StatusReport) -> Table:
    table = _table("batches", "state", "batches", "slots", "filled", "failed", "free", "timed out", "conflicting")
    for row in report.batches:
        counts = (row.batches, row.slots, row.filled, row.failed, row.free, row.timed_out, row.conflicting)
        table.add_row(row.class_type or "-", row.state, *map(str, counts))
    return table


def _counts(title: str, rows: Sequence[CountWithAge]) -> Table:
    table = _table(title, "count", "oldest")
    for row in rows:
        table.add_row(row.name, str(row.count), _age(row.oldest_seconds))
    if not rows:
        table.add_row("none", "0", "-")
    return table


def _drift(report: StatusReport) -> Iterator[Table]:
    """Yield what shows that senders changed something; nothing where they did not."""
    if report.contract_violations:
        table = _table("contract violations at", "count", "last hour", "newest id")
        table.add_column("input topic", overflow="fold")
        for group in report.contract_violations:
            counts = group.count, group.last_hour, group.newest_id
            table.add_row(group.field or "-", *map(str, counts), group.topic)
        yield table
    if report.unknown_validation_codes:
        table = _table("unknown validation codes", "count", "last hour")
        for unknown in report.unknown_validation_codes:
            table.add_row(plain(unknown.code), str(unknown.count), str(unknown.last_hour))
        yield table


def _offsets(report: StatusReport, prefix: str) -> Table:
    table = _table("input topic", "partition", "next offset", "lag")
    for stored in report.offsets:
        records = "?" if stored.lag is None else str(stored.lag)
        table.add_row(stored.topic.removeprefix(prefix), str(stored.partition), str(stored.next_offset), records)
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="left" if heading == "state" else "right")
    return table


def _age(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))

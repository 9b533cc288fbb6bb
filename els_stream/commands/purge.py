from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Final

import click

from els_stream.commands.database_access import snapshot, writing
from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.progress import progress
from els_stream.commands.purge_output import by_class, print_removed
from els_stream.config.settings import load_settings
from els_stream.domain.purge_results import AnotherPurgeRuns, NotDue, Purged, PurgeResult, Removed
from els_stream.embedded.discovery import resolve
from els_stream.maintenance.purge import PurgePlan, count_guests, purge_guests

if TYPE_CHECKING:
    from els_stream.config.settings import Settings

# One holds the lock of all purges, the other removes the chunks.
_CONNECTIONS: Final = 2
_MAX_DAYS: Final = 36_500


@click.command(epilog=exit_codes({0: "done, or another purge is running, or stopped by a signal"}))
@click.option(
    "--older-than-days", type=click.IntRange(1, _MAX_DAYS), required=True, help="Days since the batch completed."
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def purge(*, older_than_days: int, dry_run: bool, as_json: bool) -> None:
    """Remove completed GUEST batches of a minimum age; their tombstones stay.

    Safe while workers run. SIGTERM or Ctrl-C stops it within a second, and the next run continues.

    Example: els purge --older-than-days 14 --dry-run
    """
    settings = resolve(load_settings(), kafka=False)
    if dry_run:
        _report("would remove", older_than_days, asyncio.run(_count(settings, older_than_days)), as_json=as_json)
        return
    match asyncio.run(_purge(settings, older_than_days)):
        case AnotherPurgeRuns() | NotDue():
            if as_json:
                click.echo(json.dumps({"outcome": "another purge is running"}))
            click.echo("els: another purge is running: nothing was done", err=True)
        case Purged(removed, finished):
            _report("removed", older_than_days, removed, as_json=as_json, finished=finished)
            if not finished:
                click.echo("els: stopped early: the next run continues from here", err=True)


async def _count(settings: Settings, older_than_days: int) -> Removed:
    async with snapshot(settings) as conn:
        return await count_guests(conn, older_than_days)


async def _purge(settings: Settings, older_than_days: int) -> PurgeResult:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    plan = PurgePlan.from_settings(settings, older_than_days)
    with progress("counting old batches") as line:
        total = (await _count(settings, older_than_days)).batches if line.shown else 0
        async with writing(settings, connections=_CONNECTIONS) as engine:
            return await purge_guests(
                engine,
                plan,
                stop=stop,
                progress=lambda removed: line(f"{removed.batches} of {total} batches removed"),
            )


def _report(verb: str, older_than_days: int, removed: Removed, *, as_json: bool, finished: bool = True) -> None:
    if not as_json:
        print_removed(verb, removed, "GUEST")
        return
    outcome = verb if finished else "stopped"
    body = {"outcome": outcome, "older_than_days": older_than_days, "rows": by_class(removed, "GUEST")}
    click.echo(json.dumps(body))

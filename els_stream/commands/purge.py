from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Final

import click

from els_stream.commands.database_access import snapshot, writing
from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.progress import progress
from els_stream.commands.purge_output import by_class, print_removal
from els_stream.config.settings import load_settings
from els_stream.domain.purge_results import AnotherPurgeRuns, NotDue, Purged, PurgeResult, Removed
from els_stream.embedded.discovery import resolve
from els_stream.maintenance.purge import PurgePlan, count_guests, purge_guests

if TYPE_CHECKING:
    from els_stream.config.settings import Settings

# The lock of all purges is held on one, the chunks go over the other.
_CONNECTIONS: Final = 2
_LONGEST_DAYS: Final = 36_500


@click.command(epilog=exit_codes({0: "done, or another purge runs, or this one was told to stop"}))
@click.option(
    "--older-than-days", type=click.IntRange(1, _LONGEST_DAYS), required=True, help="Since the batch completed."
)
@click.option("--dry-run", is_flag=True, help="Print what would go, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def purge(*, older_than_days: int, dry_run: bool, as_json: bool) -> None:
    """Remove finished GUEST batches that are old enough; their tombstones stay.

    Safe while workers run. SIGTERM or Ctrl-C ends it within a second, and the next run goes on.

    Example: els purge --older-than-days 14 --dry-run
    """
    settings = resolve(load_settings())
    if dry_run:
        _tell("would remove", older_than_days, asyncio.run(_count(settings, older_than_days)), as_json=as_json)
        return
    match asyncio.run(_purge(settings, older_than_days)):
        case AnotherPurgeRuns() | NotDue():
            if as_json:
                click.echo(json.dumps({"outcome": "another purge runs"}))
            click.echo("els: another purge is running: nothing was done", err=True)
        case Purged(removed, finished):
            _tell("removed", older_than_days, removed, as_json=as_json, finished=finished)
            if not finished:
                click.echo("els: stopped before the end: the next run goes on from here", err=True)


async def _count(settings: Settings, older_than_days: int) -> Removed:
    async with snapshot(settings) as conn:
        return await count_guests(conn, older_than_days)


async def _purge(settings: Settings, older_than_days: int) -> PurgeResult:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    plan = PurgePlan(older_than_days, settings.purge_chunk_batches, settings.purge_pause_seconds)
    with progress("looking for old batches") as told:
        total = (await _count(settings, older_than_days)).batches if told.shown else 0
        async with writing(settings, connections=_CONNECTIONS) as engine:
            return await purge_guests(
                engine,
                plan,
                stop=stop,
                progress=lambda removed: told(f"{removed.batches} of {total} batches removed"),
            )


def _tell(verb: str, older_than_days: int, removed: Removed, *, as_json: bool, finished: bool = True) -> None:
    if not as_json:
        print_removal(verb, removed, "GUEST")
        return
    outcome = verb if finished else "stopped"
    told = {"outcome": outcome, "older_than_days": older_than_days, "rows": by_class(removed, "GUEST")}
    click.echo(json.dumps(told))

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table

from els_stream.database import create_engine, limits_of
from els_stream.decisions.purging import AnotherPurgeRuns, Purged
from els_stream.handlers import purging
from els_stream.handlers.purging import Erased, NothingToErase, PurgePlan, StillPublishing
from els_stream.resolve import resolve
from els_stream.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from els_stream.decisions.purging import PurgeResult, Removed

_REFUSED: Final = 1
_NOT_FOUND: Final = 3
_POOL: Final = 4


@click.command()
@click.option("--older-than-days", type=click.IntRange(min=1), required=True, help="Since the batch completed.")
@click.option("--dry-run", is_flag=True, help="Print what would go, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def purge(*, older_than_days: int, dry_run: bool, as_json: bool) -> None:
    """Remove finished GUEST batches; their tombstones stay.

    Example: els purge --older-than-days 14 --dry-run
    """
    if dry_run:
        _print("would remove", asyncio.run(_count(older_than_days)), as_json=as_json)
        return
    match asyncio.run(_purge(PurgePlan(older_than_days))):
        case AnotherPurgeRuns():
            click.echo("another purge is running: nothing was done", err=True)
        case Purged(removed, finished):
            _print("removed", removed, as_json=as_json)
            if not finished:
                click.echo("stopped before the end: the next run goes on from here", err=True)


@click.command()
@click.argument("batch_id", required=False)
@click.option("--student", "student_id", help="Clear this student's associations instead.")
@click.option("--dry-run", is_flag=True, help="Print what would go, and change nothing.")
def erase(*, batch_id: str | None, student_id: str | None, dry_run: bool) -> None:
    """Remove one batch of any class, or one student's associations, on request.

    Example: els erase 7d3c --dry-run
    """
    if (batch_id is None) == (student_id is None):
        raise click.UsageError("name a batch, or a student with --student")
    code = asyncio.run(_erase(batch_id, student_id, dry_run=dry_run))
    click.get_current_context().exit(code)


def _engine() -> AsyncEngine:
    settings = resolve(load_settings())
    return create_engine(settings.database, limits_of(settings), pool_size=_POOL, name="els purge")


async def _count(older_than_days: int) -> Removed:
    engine = _engine()
    try:
        async with engine.connect() as conn:
            return await purging.count_guests(conn, older_than_days)
    finally:
        await engine.dispose()


async def _purge(plan: PurgePlan) -> PurgeResult:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = _engine()
    try:
        with Console(stderr=True).status("purging") as status:
            return await purging.purge_guests(
                engine,
                plan,
                stopping=stop.is_set,
                progress=lambda removed: status.update(f"{removed.batches} batches removed"),
            )
    finally:
        await engine.dispose()


async def _erase(batch_id: str | None, student_id: str | None, *, dry_run: bool) -> int:
    engine = _engine()
    try:
        async with engine.connect() as conn, conn.begin() as transaction:
            if student_id is not None:
                essays = await purging.forget_student(conn, student_id)
                if dry_run:
                    await transaction.rollback()
                click.echo(f"{'would clear' if dry_run else 'cleared'} {essays} associations")
                return 0
            return _told(await purging.erase_batch(conn, batch_id or "", dry_run=dry_run), dry_run=dry_run)
    finally:
        await engine.dispose()


def _told(result: purging.ErasureResult, *, dry_run: bool) -> int:
    match result:
        case Erased(removed):
            _print("would remove" if dry_run else "removed", removed, as_json=False)
            return 0
        case StillPublishing():
            click.echo("els: the batch still has events to send: try again when the relay has sent them", err=True)
            return _REFUSED
        case NothingToErase():
            click.echo("els: there is no such batch, or it is purged already", err=True)
            return _NOT_FOUND


def _print(verb: str, removed: Removed, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(removed.rows))
        return
    table = Table("table", verb, box=None)
    for name, rows in removed.rows.items():
        table.add_row(name, str(rows))
    Console(highlight=False).print(table)

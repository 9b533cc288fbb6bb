from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, assert_never

import click

from els_stream.commands.database_access import snapshot, writing
from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.purge_output import by_class, print_removed
from els_stream.config.settings import load_settings
from els_stream.domain.purge_results import Erased, ErasureResult, NothingToErase, StillPublishing
from els_stream.embedded.discovery import resolve
from els_stream.maintenance.erasure import erase_batch, erase_student
from els_stream.queries.associations import batches_with_student

if TYPE_CHECKING:
    from els_stream.config.settings import Settings

_REFUSED: Final = 1
_NOT_FOUND: Final = 3


@click.command(
    epilog=exit_codes(
        {
            _REFUSED: "it still has events to publish: try again",
            _NOT_FOUND: "a server does not answer, or there is nothing to erase",
        }
    )
)
@click.argument("batch_id", required=False)
@click.option("--student", "student_id", metavar="ID", help="Clear the associations of this student instead.")
@click.option("--dry-run", is_flag=True, help="Print what would be removed, and change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def erase(*, batch_id: str | None, student_id: str | None, dry_run: bool, as_json: bool) -> None:
    """Remove one batch, or one student's associations, on request.

    The batch may have any class and age. An audit row without personal data stays, and the batch's tombstone.

    Example: els erase 7d3c --dry-run
    """
    match (batch_id, student_id):
        case (str(batch), None):
            result = asyncio.run(_erase_batch(resolve(load_settings(), kafka=False), batch, dry_run=dry_run))
            click.get_current_context().exit(_report_batch(result, dry_run=dry_run, as_json=as_json))
        case (None, str(student)):
            essays = asyncio.run(_erase_student(resolve(load_settings(), kafka=False), student, dry_run=dry_run))
            _report_student(essays, dry_run=dry_run, as_json=as_json)
        case _:
            raise click.UsageError("give a batch id, or a student with --student")


async def _erase_batch(settings: Settings, batch_id: str, *, dry_run: bool) -> ErasureResult:
    async with writing(settings) as engine, engine.begin() as conn:
        return await erase_batch(conn, batch_id, dry_run=dry_run)


async def _erase_student(settings: Settings, student_id: str, *, dry_run: bool) -> int:
    async with snapshot(settings) as conn:
        found = await batches_with_student(conn, student_id)
    if dry_run:
        return sum(found.values())
    async with writing(settings) as engine, engine.begin() as conn:
        return await erase_student(conn, student_id, found)


def _report_student(essays: int, *, dry_run: bool, as_json: bool) -> None:
    verb = "would clear" if dry_run else "cleared"
    click.echo(json.dumps({"outcome": verb, "associations": essays}) if as_json else f"{verb} {essays} associations")


def _report_batch(result: ErasureResult, *, dry_run: bool, as_json: bool) -> int:
    match result:
        case Erased(removed, class_type):
            verb = "would remove" if dry_run else "removed"
            if as_json:
                click.echo(json.dumps({"outcome": verb, "rows": by_class(removed, class_type)}))
            else:
                print_removed(verb, removed, class_type)
            return 0
        case StillPublishing():
            click.echo(
                "els: the batch still has events to publish: try again when the relay has published them", err=True
            )
            return _REFUSED
        case NothingToErase():
            click.echo("els: there is no such batch, or nothing is left to erase", err=True)
            return _NOT_FOUND
        case _:
            assert_never(result)

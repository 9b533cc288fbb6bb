from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final, assert_never

import click
from rich.console import Console
from rich.progress import Progress

from els_stream.commands import dlq_output
from els_stream.commands.database_access import snapshot, writing
from els_stream.commands.dlq_filters import check_reason, filter_options
from els_stream.commands.dlq_skip import skip
from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.operator import operator_name
from els_stream.config.settings import Settings, load_settings
from els_stream.embedded.discovery import resolve
from els_stream.handlers.registry import HandlerPolicy, make_handlers
from els_stream.maintenance.replay import Accepted, FailedAgain, NotReplayable, Replayed, Replays
from els_stream.printable import plain
from els_stream.queries import dead_letter_admin
from els_stream.queries.dead_letter_admin import (
    DEAD_LETTER_STATES,
    DeadLetterFilter,
    DeadLetterRecord,
    DeadLetterSummary,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

NOT_FOUND: Final = 3
FAILED: Final = 1
PAGE_SIZE: Final = 500
MAX_NOTE_LENGTH: Final = 500
DEAD_LETTER_ID: Final = click.IntRange(0, 2**63 - 1)
STATES: Final = (*DEAD_LETTER_STATES, "all")


@click.group(epilog=exit_codes({FAILED: "something was not done"}))
def dlq() -> None:
    """List, show, replay and discard dead letters: records that could not be processed.

    Example: els dlq list --younger-than 1d
    """


dlq.add_command(skip)


@dlq.command("list", epilog=exit_codes())
@filter_options
@click.option("--state", type=click.Choice(STATES), default="open", show_default=True, help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Print at most this many.")
@click.option("--before", type=DEAD_LETTER_ID, metavar="ID", help="Print the next page: the last id of this one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per dead letter, for scripts.")
def list_dead_letters(*, state: str, limit: int, before: int | None, as_json: bool, filters: DeadLetterFilter) -> None:
    """List dead letters, the newest first.

    Example: els dlq list --reason unknown_essay --younger-than 7d
    """
    filters = replace(filters, state=None if state == "all" else state)
    found = asyncio.run(_newest(resolve(load_settings(), kafka=False), filters, limit, before))
    if as_json:
        for dead_letter in found:
            click.echo(json.dumps(asdict(dead_letter), default=str))
        return
    Console(highlight=False, markup=False).print(dlq_output.table(found))
    if len(found) == limit:
        click.echo(f"There may be more: --before {found[-1].id}", err=True)


@dlq.command(epilog=exit_codes({NOT_FOUND: "a server does not answer, or there is no dead letter of this id"}))
@click.argument("dead_letter_id", type=DEAD_LETTER_ID, metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; bytes are base64.")
def show(*, dead_letter_id: int, as_json: bool) -> None:
    """Show one dead letter with its record.

    Example: els dlq show 42
    """
    dead_letter = asyncio.run(_read(resolve(load_settings(), kafka=False), dead_letter_id))
    if dead_letter is None:
        click.echo(f"els: there is no dead letter {dead_letter_id}", err=True)
        click.get_current_context().exit(NOT_FOUND)
    elif as_json:
        click.echo(json.dumps(dlq_output.as_json(dead_letter), default=str, indent=2))
    else:
        dlq_output.print_dead_letter(dead_letter)


@dlq.command("replay", epilog=exit_codes({FAILED: "some failed again, or can't be replayed"}))
@click.argument("dead_letter_ids", type=DEAD_LETTER_ID, nargs=-1, metavar="[ID]...")
@filter_options
@click.option("--all", "select_all", is_flag=True, help="Select all that are open.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per dead letter, for scripts.")
def replay_dead_letters(
    *, dead_letter_ids: tuple[int, ...], select_all: bool, as_json: bool, filters: DeadLetterFilter
) -> None:
    """Process the records of open dead letters again, the oldest first.

    Nothing is written to the input topics. A record that fails again gets another dead letter, linked to its first.

    Example: els dlq replay --reason never_registered
    """
    _require_selection(dead_letter_ids, filters, select_all=select_all)
    filters = replace(filters, state="open")
    outcomes = asyncio.run(_replay(resolve(load_settings(), kafka=False), dead_letter_ids, filters, as_json=as_json))
    if not as_json:
        counts = ", ".join(f"{label} {count}" for label, count in sorted(outcomes.items()))
        click.echo(f"{_number(outcomes.total())}: {counts or 'none is open'}")
    if outcomes["failed again"] or outcomes["not replayable"]:
        click.get_current_context().exit(FAILED)


@dlq.command(epilog=exit_codes({FAILED: "nothing was discarded, because --yes was not given"}))
@click.argument("dead_letter_ids", type=DEAD_LETTER_ID, nargs=-1, metavar="[ID]...")
@filter_options
@click.option("--all", "select_all", is_flag=True, help="Select all that are open.")
@click.option("--note", default="", help="The reason; it is stored in the row.")
@click.option("--yes", is_flag=True, help="Confirm: the payload is deleted for good.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def discard(
    *,
    dead_letter_ids: tuple[int, ...],
    select_all: bool,
    note: str,
    yes: bool,
    as_json: bool,
    filters: DeadLetterFilter,
) -> None:
    """Delete the payload of open dead letters for good.

    The row stays, with its size, its hash and who discarded it. Without --yes it only prints how many there are.

    Example: els dlq discard 42 --note spam --yes
    """
    _require_selection(dead_letter_ids, filters, select_all=select_all)
    filters = replace(filters, state="open")
    full_note = plain(f"discarded by {operator_name()}" + (f": {note}" if note else ""))[:MAX_NOTE_LENGTH]
    settings = resolve(load_settings(), kafka=False)
    count = asyncio.run(_discard(settings, dead_letter_ids, filters, note=full_note, dry_run=not yes))
    if as_json:
        click.echo(json.dumps({"outcome": "discarded" if yes else "would discard", "dead_letters": count}))
    if not yes:
        click.echo(f"els: this would delete the payload of {_number(count)} for good: confirm with --yes", err=True)
        click.get_current_context().exit(FAILED)
    elif not as_json:
        click.echo(f"{_number(count)} discarded")


def _number(count: int) -> str:
    return "1 dead letter" if count == 1 else f"{count} dead letters"


def _require_selection(ids: Sequence[int], filters: DeadLetterFilter, *, select_all: bool) -> None:
    if [bool(ids), filters != DeadLetterFilter(), select_all].count(True) != 1:
        raise click.UsageError("give either ids, or filters, or --all")


async def _newest(
    settings: Settings, filters: DeadLetterFilter, limit: int, before: int | None
) -> list[DeadLetterSummary]:
    async with snapshot(settings) as conn:
        await check_reason(conn, filters)
        return await dead_letter_admin.newest(conn, filters, limit, before)


async def _read(settings: Settings, dead_letter_id: int) -> DeadLetterRecord | None:
    async with snapshot(settings) as conn:
        return await dead_letter_admin.read(conn, dead_letter_id)


async def _replay(settings: Settings, ids: Sequence[int], filters: DeadLetterFilter, *, as_json: bool) -> Counter[str]:
    """Replay the dead letters with these ids, or those that match the filters; return how many had which outcome."""
    handlers = make_handlers(HandlerPolicy.from_settings(settings))
    outcomes: Counter[str] = Counter()
    async with writing(settings) as engine:
        replays = Replays.from_settings(settings, handlers.values(), engine)
        total, last_id = await _count_and_last_id(engine, ids, filters)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("replaying", total=total)
            async for page in _pages(engine, ids, filters, last_id):
                for dead_letter_id in page:
                    outcome, message = _outcome(await replays.replay_one(dead_letter_id))
                    outcomes[outcome] += 1
                    progress.advance(task)
                    if as_json:
                        click.echo(json.dumps({"id": dead_letter_id, "outcome": outcome, "message": message}))
                    elif outcome in {"failed again", "not replayable"}:
                        click.echo(f"{dead_letter_id}: {outcome}: {plain(message)}")
    return outcomes


def _outcome(result: Replayed) -> tuple[str, str]:
    """Return the label of the outcome, and a message that is empty after a success."""
    match result:
        case Accepted(label):
            return label, ""
        case FailedAgain(reason, message):
            return "failed again", f"{reason}: {message}"
        case NotReplayable(why):
            return "not replayable", why
        case _:
            assert_never(result)


async def _discard(
    settings: Settings, ids: Sequence[int], filters: DeadLetterFilter, *, note: str, dry_run: bool
) -> int:
    """Return how many were discarded, or with `dry_run` how many were selected."""
    async with writing(settings) as engine:
        total, last_id = await _count_and_last_id(engine, ids, filters)
        if dry_run:
            return total
        discarded = 0
        async for page in _pages(engine, ids, filters, last_id):
            async with engine.begin() as conn:
                discarded += len(await dead_letter_admin.discard(conn, page, note))
        return discarded


async def _count_and_last_id(engine: AsyncEngine, ids: Sequence[int], filters: DeadLetterFilter) -> tuple[int, int]:
    if ids:
        return len(ids), 0
    async with engine.connect() as conn:
        await check_reason(conn, filters)
        return await dead_letter_admin.count_and_last_id(conn, filters)


async def _pages(
    engine: AsyncEngine, ids: Sequence[int], filters: DeadLetterFilter, last_id: int
) -> AsyncIterator[Sequence[int]]:
    """Yield `ids`, or pages of matching ids up to `last_id`, which leaves out the dead letters of failed replays."""
    if ids:
        yield sorted(set(ids))
        return
    after = 0
    while True:
        async with engine.connect() as conn:
            page = await dead_letter_admin.list_ids(conn, filters, after=after, last=last_id, limit=PAGE_SIZE)
        if not page:
            return
        after = page[-1]
        yield page

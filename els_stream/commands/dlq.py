from __future__ import annotations

import asyncio
import getpass
import json
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final, assert_never

import click
from rich.console import Console
from rich.progress import Progress

from els_stream.commands.database_access import snapshot, writing
from els_stream.commands.dlq_filters import filters
from els_stream.commands.dlq_output import as_json as shown_as_json
from els_stream.commands.dlq_output import print_whole, table
from els_stream.commands.exit_codes import exit_codes
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
PAGE: Final = 500
STATES: Final = (*DEAD_LETTER_STATES, "all")


@click.group(epilog=exit_codes({FAILED: "not all was done"}))
def dlq() -> None:
    """List, show, replay and drop dead letters: events that could not be applied.

    Example: els dlq list --younger-than 1d
    """


@dlq.command("list", epilog=exit_codes())
@filters
@click.option("--state", type=click.Choice(STATES), default="open", show_default=True)
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--before", type=int, help="The next page: the last id of this one.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def list_letters(*, state: str, limit: int, before: int | None, as_json: bool, chosen: DeadLetterFilter) -> None:
    """The newest first.

    Example: els dlq list --reason unknown_essay --younger-than 7d
    """
    wanted = replace(chosen, state=None if state == "all" else state)
    found = asyncio.run(_newest(resolve(load_settings()), wanted, limit, before))
    if as_json:
        for letter in found:
            click.echo(json.dumps(asdict(letter), default=str))
        return
    Console(highlight=False, markup=False).print(table(found))
    if len(found) == limit:
        click.echo(f"There may be more: --before {found[-1].id}", err=True)


@dlq.command(epilog=exit_codes({NOT_FOUND: "a server does not answer, or there is none of this id"}))
@click.argument("letter_id", type=int)
@click.option("--json", "as_json", is_flag=True, help="One JSON object; bytes are base64.")
def show(*, letter_id: int, as_json: bool) -> None:
    """One dead letter with its record.

    Example: els dlq show 42
    """
    whole = asyncio.run(_read(resolve(load_settings()), letter_id))
    if whole is None:
        click.echo(f"els: there is no dead letter {letter_id}", err=True)
        click.get_current_context().exit(NOT_FOUND)
    elif as_json:
        click.echo(json.dumps(shown_as_json(whole), default=str, indent=2))
    else:
        print_whole(whole)


@dlq.command("replay", epilog=exit_codes({FAILED: "some failed again, or can not be replayed"}))
@click.argument("letter_ids", type=int, nargs=-1)
@filters
@click.option("--all", "everything", is_flag=True, help="All that are open.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def replay_letters(*, letter_ids: tuple[int, ...], everything: bool, as_json: bool, chosen: DeadLetterFilter) -> None:
    """Hand records to their handlers again, in the order of their burial.

    Nothing is sent to the input topics. A record that fails again has another dead letter, linked to its first.

    Example: els dlq replay --reason never_registered
    """
    _need_a_choice(letter_ids, chosen, everything=everything)
    outcomes = asyncio.run(
        _replay(resolve(load_settings()), letter_ids, replace(chosen, state="open"), as_json=as_json)
    )
    if not as_json:
        told = ", ".join(f"{label} {count}" for label, count in sorted(outcomes.items()))
        click.echo(f"{outcomes.total()} dead letters: {told or 'none is open'}")
    if outcomes["failed again"] or outcomes["not replayable"]:
        click.get_current_context().exit(FAILED)


@dlq.command(epilog=exit_codes({FAILED: "nothing was done without --yes"}))
@click.argument("letter_ids", type=int, nargs=-1)
@filters
@click.option("--all", "everything", is_flag=True, help="All that are open.")
@click.option("--because", default="", help="Kept with the row.")
@click.option("--yes", is_flag=True, help="Really: their payload is removed for good.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def drop(  # one value per option
    *,
    letter_ids: tuple[int, ...],
    everything: bool,
    because: str,
    yes: bool,
    as_json: bool,
    chosen: DeadLetterFilter,
) -> None:
    """Give dead letters up: the payload goes, a row with its size, hash and who dropped it stays.

    Without --yes it says how many there are.

    Example: els dlq drop 42 --because spam --yes
    """
    _need_a_choice(letter_ids, chosen, everything=everything)
    note = plain(f"dropped by {getpass.getuser()}" + (f": {because}" if because else ""))[:500]
    count = asyncio.run(
        _drop(resolve(load_settings()), letter_ids, replace(chosen, state="open"), note=note, really=yes)
    )
    if as_json:
        click.echo(json.dumps({"outcome": "dropped" if yes else "would drop", "dead_letters": count}))
    if not yes:
        click.echo(f"els: {count} dead letters would lose their payload for good: say --yes", err=True)
        click.get_current_context().exit(FAILED)
    elif not as_json:
        click.echo(f"{count} dead letters dropped")


def _need_a_choice(letter_ids: Sequence[int], chosen: DeadLetterFilter, *, everything: bool) -> None:
    named = [bool(letter_ids), chosen != DeadLetterFilter(), everything]
    if sum(named) != 1:
        raise click.UsageError("which ones? Name ids, or filters, or --all")


async def _newest(
    settings: Settings, wanted: DeadLetterFilter, limit: int, before: int | None
) -> list[DeadLetterSummary]:
    async with snapshot(settings) as conn:
        return await dead_letter_admin.newest(conn, wanted, limit, before)


async def _read(settings: Settings, letter_id: int) -> DeadLetterRecord | None:
    async with snapshot(settings) as conn:
        return await dead_letter_admin.read(conn, letter_id)


async def _replay(settings: Settings, named: Sequence[int], wanted: DeadLetterFilter, *, as_json: bool) -> Counter[str]:
    handlers = make_handlers(HandlerPolicy.from_settings(settings))
    outcomes: Counter[str] = Counter()
    async with writing(settings) as engine:
        replays = Replays.from_settings(settings, handlers.values(), engine)
        total, last = await _extent(engine, named, wanted)
        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("replaying", total=total)
            async for page in _pages(engine, named, wanted, last):
                for letter_id in page:
                    label, told = _told(await replays.replay_one(letter_id))
                    outcomes[label] += 1
                    progress.advance(task)
                    if as_json:
                        click.echo(json.dumps({"id": letter_id, "outcome": label, "message": told}))
                    elif label in {"failed again", "not replayable"}:
                        click.echo(f"{letter_id}: {label}: {plain(told)}")
    return outcomes


def _told(result: Replayed) -> tuple[str, str]:
    match result:
        case Accepted(label):
            return label, ""
        case FailedAgain(reason, message):
            return "failed again", f"{reason}: {message}"
        case NotReplayable(why):
            return "not replayable", why
        case _:
            assert_never(result)


async def _drop(settings: Settings, named: Sequence[int], wanted: DeadLetterFilter, *, note: str, really: bool) -> int:
    async with writing(settings) as engine:
        total, last = await _extent(engine, named, wanted)
        if not really:
            return total
        dropped = 0
        async for page in _pages(engine, named, wanted, last):
            async with engine.begin() as conn:
                dropped += len(await dead_letter_admin.discard(conn, page, note))
        return dropped


async def _extent(engine: AsyncEngine, named: Sequence[int], wanted: DeadLetterFilter) -> tuple[int, int]:
    if named:
        return len(named), 0
    async with engine.connect() as conn:
        return await dead_letter_admin.count_and_last_id(conn, wanted)


async def _pages(
    engine: AsyncEngine, named: Sequence[int], wanted: DeadLetterFilter, last: int
) -> AsyncIterator[Sequence[int]]:
    """Up to `last`, so that what fails again is not met a second time."""
    if named:
        yield sorted(set(named))
        return
    after = 0
    while True:
        async with engine.connect() as conn:
            page = await dead_letter_admin.list_ids(conn, wanted, after=after, last=last, limit=PAGE)
        if not page:
            return
        after = page[-1]
        yield page

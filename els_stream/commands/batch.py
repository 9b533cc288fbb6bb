from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table

from els_stream.commands.database_access import snapshot
from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import Settings, load_settings
from els_stream.domain.batch_timeline import Moment, MomentKind, timeline
from els_stream.domain.published_events import DeliveryState, published_events
from els_stream.domain.waiting import is_stuck, waits_for
from els_stream.embedded.discovery import resolve
from els_stream.errors import ServersUnavailable
from els_stream.printable import plain
from els_stream.queries.batch_detail import BatchDetail, read_batch_detail

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

NOT_ASKED: Final = 1
NOT_FOUND: Final = 3
STUCK: Final = 4
# A pipe tells no width; a narrower one would fold ids.
PLAIN_WIDTH: Final = 200


@click.command(
    epilog=exit_codes(
        {
            0: "found, and fine",
            NOT_ASKED: "the database could not be asked",
            NOT_FOUND: "nothing ever came for it",
            STUCK: "found, and stuck",
        }
    )
)
@click.argument("batch_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def batch(*, batch_id: str, as_json: bool) -> None:
    """Tell where a batch is, and what it waits for.

    Example: els batch 7d3c --json
    """
    context = click.get_current_context()
    try:
        story = asyncio.run(_read(resolve(load_settings()), batch_id))
    except ServersUnavailable as away:  # its own code means "not found" here
        click.echo(f"els: {away}", err=True)
        context.exit(NOT_ASKED)
    if story is None:
        click.echo(f"els: nothing ever came for batch {plain(batch_id)!r}", err=True)
        context.exit(NOT_FOUND)
    if as_json:
        click.echo(json.dumps(_as_json(story), default=str, indent=2))
    else:
        _print(story)
    if is_stuck(story):
        context.exit(STUCK)


async def _read(settings: Settings, batch_id: str) -> BatchDetail | None:
    async with snapshot(settings) as conn:
        return await read_batch_detail(conn, batch_id)


def _as_json(story: BatchDetail) -> dict[str, object]:
    return {
        "waits_for": waits_for(story),
        "stuck": is_stuck(story),
        **asdict(story),
        "events": [asdict(event) for event in published_events(story)],
    }


def _print(story: BatchDetail) -> None:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=PLAIN_WIDTH)
    stuck = " (stuck)" if is_stuck(story) else ""
    expected = "?" if story.expected is None else story.expected
    console.print(f"batch {plain(story.batch_id)}: {story.state}, waits for {waits_for(story)}{stuck}")
    console.print(
        f"{story.class_type or 'class unknown'}: {expected} expected, {story.filled} filled,"
        f" {story.failed} failed, {story.free} free, {sum(kind.events for kind in story.pending)} parked,"
        f" {len(story.excess)} excess, {story.conflicts} refused registrations"
    )
    for title, lines in (("history", _history(story)), ("events", _events(story)), ("dead letters", _letters(story))):
        table = Table(title, "", "", box=None, pad_edge=False)
        for line in lines:
            table.add_row(*line)
        if table.row_count:
            console.print(table)


def _history(story: BatchDetail) -> Iterator[tuple[str, str]]:
    """All moments of the batch but the dead letters, which have a table of their own."""
    for moment in timeline(story).moments:
        if moment.kind is not MomentKind.DEAD_LETTER:
            yield _time(moment.at), plain(_words(moment))


def _words(moment: Moment) -> str:
    match moment.kind:
        case MomentKind.PENDING:
            return f"{moment.detail} {moment.subject} pending since"
        case MomentKind.FILLED:
            return f"{moment.subject} holds {moment.detail}"
        case MomentKind.FAILED:
            return f"{moment.subject} consumed by a validation failure"
        case MomentKind.EXCESS:
            return f"{moment.subject} was excess"
        case MomentKind.TIMED_OUT:
            return "deadline passed"
        case _:
            return moment.kind.value.replace("_", " ")


def _events(story: BatchDetail) -> Iterator[tuple[str, str, str]]:
    errors = {event.event_id: f": {event.attempts} tries, {event.last_error}" for event in story.waiting}
    for event in published_events(story):
        why = errors[event.event_id] if event.delivery is DeliveryState.DEFERRED else ""
        yield _time(event.at), plain(f"{event.topic} {event.subject}".rstrip()), plain(f"{event.delivery}{why}")


def _letters(story: BatchDetail) -> Iterator[tuple[str, str, str]]:
    for letter in story.dead_letters:
        yield f"{letter.id}, {letter.state}", letter.place, plain(f"{letter.reason}: {letter.message}")


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")

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
from els_stream.domain.batch import BatchState
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

NO_ANSWER: Final = 1
NOT_FOUND: Final = 3
STUCK: Final = 4
# For a pipe, which has no width. In a narrower table long ids would be wrapped.
PIPE_WIDTH: Final = 200


@click.command(
    epilog=exit_codes(
        {
            0: "found, not stuck",
            NO_ANSWER: "the database does not answer",
            NOT_FOUND: "no event of this batch was ever received",
            STUCK: "found, stuck",
        }
    )
)
@click.argument("batch_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def batch(*, batch_id: str, as_json: bool) -> None:
    """Show the state of a batch, what it waits for and its events.

    Example: els batch 7d3c --json
    """
    context = click.get_current_context()
    try:
        detail = asyncio.run(_read(resolve(load_settings(), kafka=False), batch_id))
    except ServersUnavailable as error:  # its usual exit code means "not found" here
        click.echo(f"els: {error}", err=True)
        context.exit(NO_ANSWER)
    if detail is None:
        click.echo(f"els: no event of batch {plain(batch_id)!r} was ever received", err=True)
        context.exit(NOT_FOUND)
    if as_json:
        click.echo(json.dumps(_as_json(detail), default=str, indent=2))
    else:
        _print(detail)
    if is_stuck(detail):
        context.exit(STUCK)


async def _read(settings: Settings, batch_id: str) -> BatchDetail | None:
    async with snapshot(settings) as conn:
        return await read_batch_detail(conn, batch_id)


def _as_json(detail: BatchDetail) -> dict[str, object]:
    return {
        "waits_for": waits_for(detail),
        "stuck": is_stuck(detail),
        **asdict(detail),
        "events": [asdict(event) for event in published_events(detail)],
    }


def _print(detail: BatchDetail) -> None:
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=PIPE_WIDTH)
    stuck = " (stuck)" if is_stuck(detail) else ""
    deadline_at = detail.deadline_at if detail.state == BatchState.OPEN else None
    deadline = f", deadline {_time(deadline_at)}" if deadline_at else ""
    expected = "?" if detail.expected is None else detail.expected
    console.print(f"batch {plain(detail.batch_id)}: {detail.state}, waits for {waits_for(detail)}{stuck}{deadline}")
    console.print(
        f"{detail.class_type or 'class unknown'}: {expected} expected, {detail.filled} filled,"
        f" {detail.failed} failed, {detail.free} free, {sum(kind.events for kind in detail.pending)} pending,"
        f" {len(detail.excess)} excess, {detail.conflicts} rejected registrations"
    )
    for title, lines in (
        ("history", _history(detail)),
        ("events", _events(detail)),
        ("dead letters", _dead_letters(detail)),
    ):
        table = Table(title, "", "", box=None, pad_edge=False)
        for line in lines:
            table.add_row(*line)
        if table.row_count:
            console.print(table)


def _history(detail: BatchDetail) -> Iterator[tuple[str, str]]:
    """Yield all moments of the batch but the dead letters, which have a table of their own."""
    for moment in timeline(detail).moments:
        if moment.kind is not MomentKind.DEAD_LETTER:
            yield _time(moment.at), plain(_describe(moment))


def _describe(moment: Moment) -> str:
    match moment.kind:
        case MomentKind.PENDING:
            return f"first of {moment.detail} pending {moment.subject}"
        case MomentKind.FILLED:
            return f"{moment.subject} filled with {moment.detail}"
        case MomentKind.FAILED:
            return f"{moment.subject} used by a file that failed validation"
        case MomentKind.EXCESS:
            return f"no free slot for {moment.subject}"
        case MomentKind.TIMED_OUT:
            return "deadline passed"
        case _:
            return moment.kind.value.replace("_", " ")


def _events(detail: BatchDetail) -> Iterator[tuple[str, str, str]]:
    errors = {event.event_id: f": {event.attempts} attempts, {event.last_error}" for event in detail.waiting}
    for event in published_events(detail):
        error = errors[event.event_id] if event.delivery is DeliveryState.DEFERRED else ""
        yield _time(event.at), plain(f"{event.topic} {event.subject}".rstrip()), plain(f"{event.delivery}{error}")


def _dead_letters(detail: BatchDetail) -> Iterator[tuple[str, str, str]]:
    for dead_letter in detail.dead_letters:
        message = plain(f"{dead_letter.reason}: {dead_letter.message}")
        yield f"{dead_letter.id}, {dead_letter.state}", dead_letter.place, message


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")

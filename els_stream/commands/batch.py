from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import create_async_engine

from els_stream.decisions.waiting import is_stuck, waits_for
from els_stream.resolve import resolve
from els_stream.settings import load_settings
from els_stream.statements.story import BatchStory, read_story

if TYPE_CHECKING:
    from datetime import datetime

NOT_FOUND: Final = 3
STUCK: Final = 4


@click.command()
@click.argument("batch_id")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, for scripts.")
def batch(*, batch_id: str, as_json: bool) -> None:
    """Tell where a batch is, and what it waits for.

    Exit code 0: found and fine, 3: not found, 4: found and stuck. Example: els batch 7d3c --json
    """
    story = asyncio.run(_read(resolve(load_settings()).database, batch_id))
    context = click.get_current_context()
    if story is None:
        click.echo(f"els: nothing ever came for batch {batch_id!r}", err=True)
        context.exit(NOT_FOUND)
    if as_json:
        answer = {"waits_for": waits_for(story), "stuck": is_stuck(story), **asdict(story)}
        click.echo(json.dumps(answer, default=str, indent=2))
    else:
        _print(story)
    if is_stuck(story):
        context.exit(STUCK)


async def _read(url: str, batch_id: str) -> BatchStory | None:
    engine = create_async_engine(url, isolation_level="REPEATABLE READ", pool_size=1)
    try:
        async with engine.connect() as conn:
            return await read_story(conn, batch_id)
    finally:
        await engine.dispose()


def _print(story: BatchStory) -> None:
    console = Console(highlight=False, markup=False)
    stuck = " (stuck)" if is_stuck(story) else ""
    console.print(f"batch {story.batch_id}: {story.state}, waits for {waits_for(story)}{stuck}")
    console.print(
        f"{story.class_type or 'class unknown'}: {_shown(story.expected)} expected, {story.filled} filled,"
        f" {story.failed} failed, {story.free} free, {sum(kind.events for kind in story.parked)} parked,"
        f" {len(story.excess)} excess, {story.conflicts} refused registrations"
    )
    console.print(_events(story))
    for letter in story.dead_letters:
        console.print(f"dead letter {letter.id} ({letter.state}): {letter.reason}, {letter.place}: {letter.message}")


def _events(story: BatchStory) -> Table:
    """What became true, in order; what still lies in the outbox says so."""
    table = Table("when", "what", "outbox", box=None)
    for when, what in sorted(_milestones(story)):
        table.add_row(when.isoformat(timespec="milliseconds"), what, "")
    for event in story.waiting:
        state = "waits" if event.held_until is None else f"held after {event.attempts} tries: {event.last_error}"
        table.add_row(event.created_at.isoformat(timespec="milliseconds"), event.topic, state)
    return table


def _milestones(story: BatchStory) -> list[tuple[datetime, str]]:
    dated = [
        *((kind.since, f"{kind.events} {kind.kind} parked since") for kind in story.parked),
        (story.registered_at, "registered"),
        *(
            (
                slot.held_at,
                f"{slot.essay_id} holds {slot.text_storage_id}"
                if slot.text_storage_id
                else f"{slot.essay_id} consumed by a validation failure",
            )
            for slot in story.slots
        ),
        *((text.created_at, f"{text.text_storage_id} was excess") for text in story.excess),
        (story.timed_out_at, "deadline passed"),
        (story.content_completed_at, "content complete"),
        (story.associations_confirmed_at, "associations confirmed"),
        (story.completed_at, "completed"),
        (story.purged_at, "purged"),
    ]
    return [(when, what) for when, what in dated if when is not None]


def _shown(number: int | None) -> str:
    return "?" if number is None else str(number)

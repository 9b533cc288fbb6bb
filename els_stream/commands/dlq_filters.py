"""The options that select dead letters, the same for all `els dlq` commands."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING

import click

from els_stream.age import parse_age
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.topics import INPUT_TOPICS
from els_stream.queries.dead_letter_admin import DeadLetterFilter, is_reason

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncConnection


class Age(click.ParamType):
    """An option whose value is an age, such as 90m or 7d."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        try:
            return parse_age(str(value))
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class ReasonOption(click.Choice[str]):
    """An option whose value is a reason; `check_reason` decides about one that is not known."""

    def __init__(self) -> None:
        super().__init__([str(reason) for reason in DeadLetterReason])

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_]*", value):
            return value
        return super().convert(value, param, ctx)


async def check_reason(conn: AsyncConnection, filters: DeadLetterFilter) -> None:
    """Raise UsageError for a reason that is neither known nor in the table."""
    if filters.reason is None or await is_reason(conn, filters.reason):
        return
    raise click.UsageError(
        f"no dead letter has the reason {filters.reason!r}; known are: {', '.join(DeadLetterReason)}"
    )


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options to `command`, which gets their values as the argument `filters`."""

    @wraps(command)
    def with_filters(  # one value per option
        *,
        reason: str | None,
        field: str | None,
        topic: str | None,
        batch_id: str | None,
        older_than: timedelta | None,
        younger_than: timedelta | None,
        **others: object,
    ) -> None:
        filters = DeadLetterFilter(
            reason=reason,
            field=field,
            topic=topic,
            batch_id=batch_id,
            older_than=older_than,
            younger_than=younger_than,
        )
        command(filters=filters, **others)

    for option in (
        click.option("--younger-than", type=Age(), help="Only those at most this old: 90m, 12h, 7d."),
        click.option("--older-than", type=Age(), help="Only those at least this old: 90m, 12h, 7d."),
        click.option("--batch", "batch_id", metavar="ID", help="Only those of this batch."),
        click.option(
            "--topic",
            type=click.Choice(INPUT_TOPICS),
            metavar="TOPIC",
            help="Only those from this topic, given without its prefix.",
        ),
        click.option("--field", metavar="FIELD", help="Only those whose record breaks its contract at this field."),
        click.option(
            "--reason",
            type=ReasonOption(),
            metavar="REASON",
            help="Only those with this reason, such as unknown_essay.",
        ),
    ):
        with_filters = option(with_filters)
    return with_filters

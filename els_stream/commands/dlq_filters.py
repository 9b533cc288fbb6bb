"""The options that choose dead letters, the same for every command on them."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Final

import click

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.topics import INPUT_TOPICS
from els_stream.queries.dead_letter_admin import DeadLetterFilter

if TYPE_CHECKING:
    from collections.abc import Callable

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST_DIGITS: Final = 6


class Age(click.ParamType):
    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(rf"(\d{{1,{_LONGEST_DIGITS}}})([smhd])", str(value))
        if match is None:
            self.fail(f"{value!r}: a number and s, m, h or d, such as 90m or 7d", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


def filters(command: Callable[..., None]) -> Callable[..., None]:
    """Options of which the command gets `chosen`."""

    @wraps(command)
    def choosing(  # one value per option
        *,
        reason: str | None,
        topic: str | None,
        batch_id: str | None,
        older_than: timedelta | None,
        younger_than: timedelta | None,
        **others: object,
    ) -> None:
        chosen = DeadLetterFilter(
            reason=reason, topic=topic, batch_id=batch_id, older_than=older_than, younger_than=younger_than
        )
        command(chosen=chosen, **others)

    for option in (
        click.option("--younger-than", type=Age(), help="Buried since then: 90m, 12h, 7d."),
        click.option("--older-than", type=Age(), help="Buried before then: 90m, 12h, 7d."),
        click.option("--batch", "batch_id", help="Of this batch."),
        click.option("--topic", type=click.Choice(INPUT_TOPICS), metavar="TOPIC", help="From this topic, whole name."),
        click.option("--reason", type=click.Choice([str(r) for r in DeadLetterReason]), metavar="REASON"),
    ):
        choosing = option(choosing)
    return choosing

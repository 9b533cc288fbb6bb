"""Dead letters on a terminal, and as JSON with their bytes in base64."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from els_stream.printable import decoded, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from els_stream.queries.dead_letter_admin import DeadLetterRecord, DeadLetterSummary


def table(found: Sequence[DeadLetterSummary]) -> Table:
    table = Table("id", "buried at", "state", "reason", "batch", "place", "bytes", box=None, pad_edge=False)
    for letter in found:
        table.add_row(
            str(letter.id),
            letter.created_at.isoformat(timespec="seconds"),
            letter.state,
            letter.reason,
            plain(letter.batch_id or "-"),
            letter.place,
            str(letter.value_size),
        )
    return table


def print_whole(whole: DeadLetterRecord) -> None:
    letter = whole.summary
    facts = {**asdict(letter), "place": letter.place, "value_sha256": whole.value_sha256.hex()}
    for name, fact in facts.items():
        if fact is not None:
            click.echo(f"{name:<13} {plain(str(fact))}")
    record = whole.record
    click.echo(f"{'key':<13} {'-' if record.key is None else decoded(record.key)}")
    for name, value in record.headers:
        click.echo(f"{'header':<13} {plain(name)}: {plain(decoded(value))}")
    click.echo()
    click.echo("(no value)" if record.value is None else decoded(record.value))


def as_json(whole: DeadLetterRecord) -> dict[str, Any]:
    record = whole.record
    return {
        **asdict(whole.summary),
        "value_sha256": whole.value_sha256.hex(),
        "key": _encoded(record.key),
        "headers": [[name, _encoded(value)] for name, value in record.headers],
        "value": _encoded(record.value),
    }


def _encoded(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()

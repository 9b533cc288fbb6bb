"""Dead letters as text for a terminal, and as JSON with their bytes in base64."""

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


def table(dead_letters: Sequence[DeadLetterSummary]) -> Table:
    """Return a table with one line for each dead letter."""
    table = Table("id", "created at", "state", "reason", "batch", "record", "bytes", box=None, pad_edge=False)
    for dead_letter in dead_letters:
        table.add_row(
            str(dead_letter.id),
            dead_letter.created_at.isoformat(timespec="seconds"),
            dead_letter.state,
            dead_letter.reason,
            plain(dead_letter.batch_id or "-"),
            dead_letter.place,
            str(dead_letter.value_size),
        )
    return table


def print_dead_letter(dead_letter: DeadLetterRecord) -> None:
    """Print all fields and the record; characters that are not printable are escaped."""
    summary = dead_letter.summary
    fields = {**asdict(summary), "place": summary.place, "value_sha256": dead_letter.value_sha256.hex()}
    for name, field in fields.items():
        if field is not None:
            click.echo(f"{name:<13} {plain(str(field))}")
    record = dead_letter.record
    click.echo(f"{'key':<13} {'-' if record.key is None else decoded(record.key)}")
    for name, value in record.headers:
        click.echo(f"{'header':<13} {plain(name)}: {plain(decoded(value))}")
    click.echo()
    click.echo("(no value)" if record.value is None else decoded(record.value))


def as_json(dead_letter: DeadLetterRecord) -> dict[str, Any]:
    """Return all fields of the dead letter and its record, with bytes in base64."""
    record = dead_letter.record
    return {
        **asdict(dead_letter.summary),
        "value_sha256": dead_letter.value_sha256.hex(),
        "key": _base64(record.key),
        "headers": [[name, _base64(value)] for name, value in record.headers],
        "value": _base64(record.value),
    }


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else base64.b64encode(raw).decode()

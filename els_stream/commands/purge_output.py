"""What was removed, or would be: the same table and the same JSON for purge and erasure, by table and class type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.table import Table

from els_stream.queries.stats import CLASS_TYPES

if TYPE_CHECKING:
    from els_stream.domain.purge_results import Removed

UNKNOWN: Final = "unknown"


def by_class(removed: Removed, class_type: str | None) -> dict[str, dict[str, int]]:
    """Zeros for the classes of which nothing goes; a batch that never registered has none."""
    nothing = dict.fromkeys(removed.rows, 0)
    return dict.fromkeys(CLASS_TYPES, nothing) | {class_type or UNKNOWN: removed.rows}


def print_removal(verb: str, removed: Removed, class_type: str | None) -> None:
    click.echo(f"{verb}:")
    classes = by_class(removed, class_type)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("table", no_wrap=True)
    for name in classes:
        table.add_column(name, justify="right")
    for what in removed.rows:
        table.add_row(what, *(str(rows[what]) for rows in classes.values()))
    Console(highlight=False).print(table)

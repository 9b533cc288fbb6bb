"""The removed rows by table and class type, the same for purge and erasure, as a table and as JSON."""

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
    """Return the rows by class type, with zeros for the other types; the type of an unregistered batch is `unknown`."""
    zeros = dict.fromkeys(removed.rows, 0)
    return dict.fromkeys(CLASS_TYPES, zeros) | {class_type or UNKNOWN: removed.rows}


def print_removed(verb: str, removed: Removed, class_type: str | None) -> None:
    click.echo(f"{verb}:")
    classes = by_class(removed, class_type)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("table", no_wrap=True)
    for class_name in classes:
        table.add_column(class_name, justify="right")
    for name in removed.rows:
        table.add_row(name, *(str(rows[name]) for rows in classes.values()))
    Console(highlight=False).print(table)

"""Writes the results as a table for people and as bench.json for charts and comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from tests.benchmarks.report import Section

SMALL = 100


def all_ratios(sections: Sequence[Section]) -> dict[str, float]:
    """Return the ratios of all sections; raises ValueError if two have the same name."""
    ratios: dict[str, float] = {}
    for section in sections:
        if twice := ratios.keys() & section.ratios.keys():
            raise ValueError(f"two sections of one run give {sorted(twice)}")
        ratios |= section.ratios
    return ratios


def as_table(sections: Sequence[Section]) -> Table:
    table = Table(title="els_stream, measured", show_lines=False)
    table.add_column("what", overflow="fold")
    table.add_column("value", justify="right")
    table.add_column("unit")
    for section in sections:
        table.add_section()
        table.add_row(f"[bold]{section.title}[/bold]")
        for figure in section.figures:
            table.add_row(f"  {figure.name}", format_number(figure.value), figure.unit)
        for name, ratio in section.ratios.items():
            table.add_row(f"  [cyan]{name}[/cyan]", f"[cyan]{ratio:.2f}[/cyan]", "[cyan]ratio[/cyan]")
    return table


def format_number(value: float) -> str:
    """Return the number with about three significant digits."""
    return f"{value:,.0f}" if abs(value) >= SMALL or value == int(value) else f"{value:.3g}"


def write_json(
    path: Path,
    sections: Sequence[Section],
    *,
    about: Mapping[str, object],
    machine: Mapping[str, object],
    versions: Mapping[str, str],
) -> None:
    whole = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **about,
        "machine": machine,
        "versions": versions,
        "ratios": all_ratios(sections),
        "sections": [asdict(section) for section in sections],
    }
    path.write_text(json.dumps(whole, indent=2) + "\n")

from __future__ import annotations

import json

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import Settings, load_settings
from els_stream.config.settings_reference import rows


@click.command(epilog=exit_codes())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
@click.option("--explain", is_flag=True, help="Also print the meaning and the allowed values of each setting.")
def settings(*, as_json: bool, explain: bool) -> None:
    """Print the effective settings, with secrets masked.

    Example: els settings --explain
    """
    effective = load_settings().masked()
    if as_json:
        click.echo(json.dumps(effective, indent=2))
        return
    for row in rows(Settings):
        value = effective[row.variable]
        text = json.dumps(value) if isinstance(value, bool) else str("" if value is None else value)
        click.echo(f"{row.variable}={text}")
        if explain:
            click.echo(f"    {row.meaning} Takes {row.allowed}.")

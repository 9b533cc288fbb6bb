from __future__ import annotations

import asyncio
import json

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import load_settings
from els_stream.db import migration, schema
from els_stream.embedded.discovery import resolve
from els_stream.observability.logging import configure_logging


@click.command(epilog=exit_codes())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for scripts.")
def migrate(*, as_json: bool) -> None:
    """Apply database migrations.

    Safe while workers run, and in several processes at once: one migrates, the others wait. A transaction of another
    session whose lock is needed is named, and waited for up to five minutes; workers' statements pass meanwhile.

    Example: els migrate
    """
    settings = resolve(load_settings(), kafka=False)
    configure_logging(settings.log_level, settings.log_format)
    asyncio.run(migration.upgrade(settings.database))
    head, _ = schema.revisions()
    click.echo(json.dumps({"revision": head}) if as_json else f"the schema is at revision {head}")

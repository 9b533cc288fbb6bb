from __future__ import annotations

import json

import click

from els_stream.commands.asyncapi_document import document
from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import load_settings


@click.command(epilog=exit_codes())
def asyncapi() -> None:
    """Print the AsyncAPI 3 document of all topics, events and headers, as JSON.

    Addresses have the prefix that ELS_TOPIC_PREFIX sets.

    Example: els asyncapi > asyncapi.json
    """
    click.echo(json.dumps(document(load_settings().topic_prefix), ensure_ascii=False, indent=2))

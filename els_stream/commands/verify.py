from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.progress import progress
from els_stream.config.settings import Settings, load_settings
from els_stream.embedded.discovery import resolve
from els_stream.verify.runner import verify as prove

_VIOLATED = 1


@click.command(epilog=exit_codes({_VIOLATED: "something is violated"}))
@click.option(
    "--kafka", is_flag=True, help="Also compare the tables with the output topics, and the ledger with the input."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def verify(*, kafka: bool, as_json: bool) -> None:
    """Check every invariant on the live database; on request also the topics against it.

    Example: els verify --kafka
    """
    violated = asyncio.run(_verify(resolve(load_settings()), kafka=kafka, as_json=as_json))
    if violated:
        click.get_current_context().exit(_VIOLATED)


async def _verify(settings: Settings, *, kafka: bool, as_json: bool) -> int:
    violated = 0
    with progress("checking") as told:
        async for finding in prove(settings, kafka=kafka):
            violated += finding.violated
            with told.aside():
                click.echo(json.dumps(asdict(finding)) if as_json else str(finding))
            told(f"checking, the last was {finding.invariant}")
    return violated

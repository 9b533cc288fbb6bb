from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

import click

from els_stream.resolve import resolve
from els_stream.settings import Settings, load_settings
from els_stream.verify.invariants import SHOWN_PER_CHECK, Finding
from els_stream.verify.run import verify as prove

_VIOLATED = 1


@click.command()
@click.option(
    "--kafka", is_flag=True, help="Also compare the tables with the output topics, and the ledger with the input."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def verify(*, kafka: bool, as_json: bool) -> None:
    """Check every invariant on the live database; exit code 1 on any violation.

    Example: els verify --kafka
    """
    violated = asyncio.run(_verify(resolve(load_settings()), kafka=kafka, as_json=as_json))
    if violated:
        click.get_current_context().exit(_VIOLATED)


async def _verify(settings: Settings, *, kafka: bool, as_json: bool) -> int:
    violated = 0
    async for finding in prove(settings, kafka=kafka):
        violated += finding.violated
        _print(finding, as_json=as_json)
    return violated


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(asdict(finding)))
        return
    verdict = f"{finding.violated} VIOLATED" if finding.violated else "holds"
    click.echo(f"{finding.invariant:<9} {finding.checked:>10} checked  {verdict:<12}  {finding.meaning}")
    for violation in finding.shown:
        click.echo(f"          - {violation}")
    if finding.violated > SHOWN_PER_CHECK:
        click.echo(f"          - and {finding.violated - SHOWN_PER_CHECK} more")

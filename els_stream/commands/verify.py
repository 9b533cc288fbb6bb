from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.progress import progress
from els_stream.config.settings import Settings, load_settings
from els_stream.db.explanations import explained
from els_stream.embedded.discovery import resolve
from els_stream.verify.runner import verify as run_checks

_VIOLATED = 1


@click.command(epilog=exit_codes({_VIOLATED: "an invariant is violated"}))
@click.option(
    "--kafka",
    is_flag=True,
    help="Also compare the tables with the output topics, and the stored offsets with the input topics.",
)
@click.option(
    "--clock-skew-ms",
    type=click.IntRange(0, 3_600_000),
    default=1_000,
    show_default=True,
    help="How far the clocks of workers and brokers may differ: the order of events is judged by Kafka's timestamps.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per check, for scripts.")
def verify(*, kafka: bool, clock_skew_ms: int, as_json: bool) -> None:
    """Check every invariant on the live database.

    With --kafka, events that the topics' retention has deleted are counted, and no violation.

    Example: els verify --kafka
    """
    settings = resolve(load_settings(), kafka=kafka)
    violated = asyncio.run(_verify(settings, kafka=kafka, clock_skew_ms=clock_skew_ms, as_json=as_json))
    if violated:
        click.get_current_context().exit(_VIOLATED)


async def _verify(settings: Settings, *, kafka: bool, clock_skew_ms: int, as_json: bool) -> int:
    violated = 0
    with explained(settings.database), progress("checking") as line:
        async for finding in run_checks(settings, kafka=kafka, clock_skew_ms=clock_skew_ms):
            violated += finding.violated
            with line.hidden():
                click.echo(json.dumps(asdict(finding)) if as_json else str(finding))
            line(f"checking, the last was {finding.invariant}")
    return violated

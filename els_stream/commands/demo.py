from __future__ import annotations

import asyncio

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import load_settings
from els_stream.demo.console import DemoConsole
from els_stream.demo.run import demo as perform
from els_stream.demo.traffic import LARGEST, Mix, make_traffic, with_injected_error

BATCHES = 48
MAX_CELLS = 8


@click.command(epilog=exit_codes({1: "the check found a difference"}))
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same demo.")
@click.option(
    "--batches", type=click.IntRange(1, 10_000), default=BATCHES, show_default=True, help="Number of class sets."
)
@click.option(
    "--largest",
    type=click.IntRange(1, LARGEST),
    default=LARGEST,
    show_default=True,
    help="Essays in the largest batch.",
)
@click.option(
    "--cells",
    type=click.IntRange(1, MAX_CELLS),
    default=1,
    show_default=True,
    help="Deployments on the same servers, each with its own topics, group and database.",
)
@click.option("--secure", is_flag=True, help="Start servers of its own, with TLS and a login.")
@click.option("--inject-error", is_flag=True, help="Expect one essay that is never sent, so that the check fails.")
def demo(*, seed: int, batches: int, largest: int, cells: int, secure: bool, inject_error: bool) -> None:
    """Send class sets through two workers and check the result.

    It starts servers, or uses those of `els up`. It creates a database, topics and a consumer group, and removes them.
    With several cells it creates these for each, and one worker; their batches have the same ids and other contents.

    Example: els demo --batches 400 --seed 7
    """
    traffics = [make_traffic(seed + number, batches, largest, Mix(overdue=True)) for number in range(cells)]
    if inject_error:
        traffics[0] = with_injected_error(traffics[0])
    asyncio.run(perform(load_settings(), traffics, DemoConsole(), secure=secure))

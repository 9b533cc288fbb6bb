from __future__ import annotations

import asyncio

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import load_settings
from els_stream.demo.console import DemoConsole
from els_stream.demo.run import demo as perform
from els_stream.demo.traffic import LARGEST, Mix, make_traffic, with_a_lie

BATCHES = 48


@click.command(epilog=exit_codes({1: "something came out otherwise than it must"}))
@click.option("--seed", default=1, show_default=True, help="Another seed, another demo; the same one, the same demo.")
@click.option("--batches", type=click.IntRange(1, 10_000), default=BATCHES, show_default=True, help="How many.")
@click.option(
    "--largest",
    type=click.IntRange(1, LARGEST),
    default=LARGEST,
    show_default=True,
    help="Essays in the largest batch.",
)
@click.option("--lie", is_flag=True, help="Expect one essay that nobody sends, to see the check fail.")
def demo(*, seed: int, batches: int, largest: int, lie: bool) -> None:
    """Send class sets through two workers and check the result.

    On servers of its own, or on those of `els up`; a database, topics and a consumer group are made for it and removed.

    Example: els demo --batches 400 --seed 7
    """
    traffic = make_traffic(seed, batches, largest, Mix(overdue=True))
    asyncio.run(perform(load_settings(), with_a_lie(traffic) if lie else traffic, DemoConsole()))

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.live import Live

from els_stream.commands.database_access import writing
from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.watch_data import watch_client
from els_stream.commands.watch_view import render
from els_stream.config.settings import load_settings
from els_stream.embedded.discovery import resolve
from els_stream.errors import ServersUnavailable
from els_stream.tasks import run_every, run_until

if TYPE_CHECKING:
    from els_stream.commands.watch_data import WatchClient
    from els_stream.config.settings import Settings

# For a pipe, which has no size.
PIPE_WIDTH: Final = 100
PIPE_HEIGHT: Final = 40


@click.command(epilog=exit_codes({0: "stopped by Ctrl-C, or printed once"}))
@click.option(
    "--every", type=click.FloatRange(0.2, 60), default=2, show_default=True, help="Seconds between refreshes."
)
@click.option("--url", metavar="URL", help="Address of the worker to ask; by default the one in the settings.")
@click.option("--once", is_flag=True, help="Print once and exit, as in a pipe.")
def watch(*, every: float, url: str | None, once: bool) -> None:
    """Show the page's main numbers live in this terminal, until Ctrl-C.

    They come from the database, and from a worker if one answers.

    Example: els watch --every 1
    """
    settings = resolve(load_settings(), kafka=False)
    console = Console(highlight=False)
    if once or not console.is_terminal:
        asyncio.run(_print_once(settings, url, console))
    else:
        asyncio.run(_show_live(settings, url, console, every))


async def _print_once(settings: Settings, url: str | None, console: Console) -> None:
    async with writing(settings) as engine, watch_client(settings, engine, url) as client:
        data = await client.read()
    if data.error is not None:
        raise ServersUnavailable(f"the database does not answer: {data.error}")
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH, height=PIPE_HEIGHT)
    console.print(render(data, console.height))


async def _show_live(settings: Settings, url: str | None, console: Console, every: float) -> None:
    """Refresh until a signal comes. An outage is shown, and does not end it."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with writing(settings) as engine, watch_client(settings, engine, url) as client:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            await run_until(stop, run_every(every, partial(_refresh, client, live)))


async def _refresh(client: WatchClient, live: Live) -> None:
    data = await client.read()
    live.update(render(data, live.console.height), refresh=True)

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

import click
from rich.console import Console
from rich.live import Live

from els_stream.commands.database_access import writing
from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.watch_data import looker
from els_stream.commands.watch_view import frame
from els_stream.config.settings import load_settings
from els_stream.embedded.discovery import resolve
from els_stream.errors import ServersUnavailable

if TYPE_CHECKING:
    from els_stream.commands.watch_data import WatchClient
    from els_stream.config.settings import Settings

# A pipe tells no size.
PLAIN_WIDTH: Final = 100
PLAIN_HEIGHT: Final = 40


@click.command(epilog=exit_codes({0: "ended by Ctrl-C, or the one frame was printed"}))
@click.option("--every", type=click.FloatRange(0.2, 60), default=2, show_default=True, help="Seconds between looks.")
@click.option("--url", metavar="URL", help="Of the worker to ask, instead of the one that the settings tell of.")
@click.option("--once", is_flag=True, help="One frame, as where stdout is no terminal.")
def watch(*, every: float, url: str | None, once: bool) -> None:
    """The page's main figures, live in this terminal, until Ctrl-C.

    Of the database, and of a worker where one answers. Example: els watch --every 1
    """
    settings = resolve(load_settings())
    console = Console(highlight=False)
    if once or not console.is_terminal:
        asyncio.run(_once(settings, url, console))
    else:
        asyncio.run(_live(settings, url, console, every))


async def _once(settings: Settings, url: str | None, console: Console) -> None:
    async with writing(settings) as engine, looker(settings, engine, url) as eyes:
        seen = await eyes.look()
    if seen.trouble is not None:
        raise ServersUnavailable(f"the database does not answer: {seen.trouble}")
    if not console.is_terminal:
        console = Console(highlight=False, width=PLAIN_WIDTH, height=PLAIN_HEIGHT)
    console.print(frame(seen, console.height))


async def _live(settings: Settings, url: str | None, console: Console, every: float) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with writing(settings) as engine, looker(settings, engine, url) as eyes:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            showing = asyncio.create_task(_keep_showing(eyes, live, every))
            await asyncio.wait({showing, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=stop.is_set())


async def _keep_showing(eyes: WatchClient, live: Live, every: float) -> None:
    """An outage is shown and waited for."""
    while True:
        seen = await eyes.look()
        live.update(frame(seen, live.console.height), refresh=True)
        await asyncio.sleep(every)

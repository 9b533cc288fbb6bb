from __future__ import annotations

import asyncio
import sys

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.topics import ensure
from els_stream.config.settings import Settings, load_settings
from els_stream.db import schema
from els_stream.embedded.processes import undisturbed
from els_stream.embedded.servers import running
from els_stream.errors import ServersUnavailable


@click.command(epilog=exit_codes())
@click.option("--web-port", type=click.IntRange(1, 65_535), help="Instead of ELS_WEB_PORT.")
def run(*, web_port: int | None) -> None:
    """Servers, schema, topics and one worker, until Ctrl-C.

    Servers that this command started end with it; what they hold stays for the next time.

    Example: els run --web-port 6070
    """
    asyncio.run(_run(load_settings(**({} if web_port is None else {"web_port": web_port}))))


async def _run(settings: Settings) -> None:
    async with running(settings) as found:
        here = settings.with_servers(broker_url=found.broker, database_url=found.database_url)
        await schema.upgrade(here.database)
        await ensure(here)
        click.echo(f"els: broker {found.broker}, web http://{settings.web_host}:{settings.web_port}; Ctrl-C ends all")
        await _worker(settings.web_port)


async def _worker(web_port: int) -> None:
    """In a session of its own: Ctrl-C reaches this process only, which tells the worker once and waits for it."""
    command = [sys.executable, "-m", "els_stream", "worker", "--web-port", str(web_port)]
    process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await undisturbed(_ended(process))
    raise ServersUnavailable(f"the worker ended by itself with {status}")


async def _ended(process: asyncio.subprocess.Process) -> None:
    await process.wait()

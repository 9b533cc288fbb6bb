from __future__ import annotations

import asyncio
import sys

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.topics import ensure
from els_stream.config.settings import Settings, load_settings
from els_stream.db import migration
from els_stream.embedded.processes import shielded
from els_stream.embedded.servers import running
from els_stream.errors import ServersUnavailable


@click.command(epilog=exit_codes())
@click.option("--web-port", type=click.IntRange(1, 65_535), help="Overrides ELS_WEB_PORT.")
def run(*, web_port: int | None) -> None:
    """Start servers, migrate, create topics and run one worker, until Ctrl-C.

    Servers that this command started stop with it; their data stays for the next run.

    Example: els run --web-port 6070
    """
    asyncio.run(_run(load_settings(**({} if web_port is None else {"web_port": web_port}))))


async def _run(settings: Settings) -> None:
    async with running(settings) as found:
        here = settings.with_servers(broker_url=found.broker, database_url=found.database_url)
        await migration.upgrade(here.database)
        await ensure(here)
        click.echo(f"els: broker {found.broker}, web http://{settings.web_host}:{settings.web_port}; Ctrl-C stops all")
        await _run_worker(settings.web_port)


async def _run_worker(web_port: int) -> None:
    """Run a worker in a session of its own, so that Ctrl-C reaches only this process, which then stops the worker."""
    command = [sys.executable, "-m", "els_stream", "worker", "--web-port", str(web_port)]
    process = await asyncio.create_subprocess_exec(*command, start_new_session=True)
    try:
        status = await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await shielded(_exited(process))
    raise ServersUnavailable(f"the worker exited with code {status}")


async def _exited(process: asyncio.subprocess.Process) -> None:
    await process.wait()

from __future__ import annotations

import click

from els_stream.app import make, run_worker
from els_stream.commands.exit_codes import exit_codes


@click.command(epilog=exit_codes())
@click.option("--web-port", type=click.IntRange(0, 65_535), help="Overrides ELS_WEB_PORT; 0 takes any free port.")
def worker(*, web_port: int | None) -> None:
    """Run one worker until SIGTERM or Ctrl-C.

    Example: els worker --web-port 0
    """
    run_worker(make(**({} if web_port is None else {"web_port": web_port})))

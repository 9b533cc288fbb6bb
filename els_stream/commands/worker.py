"""`els worker`: one worker in this process. The event loop is chosen before anything of Faust is imported."""

from __future__ import annotations

import importlib
import sys

import click


@click.command()
@click.option("--web-port", type=click.IntRange(0, 65535), help="Instead of ELS_WEB_PORT; 0: any free one.")
def worker(*, web_port: int | None) -> None:
    """Run one worker until it is told to stop."""
    run(**({} if web_port is None else {"web_port": web_port}))


def run(**overrides: object) -> None:
    """Never returns: the worker ends the process."""
    if sys.platform != "win32":
        importlib.import_module("mode.loop").use("uvloop")
    app = importlib.import_module("els_stream.app")
    made = app.make(**overrides)
    app.run_worker(made, "info")

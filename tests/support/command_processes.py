"""Run many `els` commands, each in a process of its own that is forked from one that has imported everything.

A new interpreter imports for a second; a fork takes some milliseconds.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import click

from els_stream.cli import ENTRIES, main
from tests.support.waiting import PROCESSES, until

PRELOADED: Final = [*{entry.target.partition(":")[0] for entry in ENTRIES.values()}, "els_stream.commands.failures"]


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended; `code` is negative if a signal or the time limit ended it."""

    code: int
    stdout: str
    stderr: str
    seconds: float


def every_command() -> list[tuple[str, ...]]:
    """Return the names of all commands as the parser has them, `("dlq", "list")` for one in a group."""
    found: list[tuple[str, ...]] = []
    for name in ENTRIES:
        command = main.get_command(click.Context(main), name)
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
        else:
            found.append((name,))
    return found


async def run_command(
    arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path, *, seconds: float, stop_at: str = ""
) -> Ended:
    """Run a command; SIGKILL ends it after `seconds`. SIGTERM is sent once stderr has the text `stop_at`."""
    out, err = folder / "stdout", folder / "stderr"
    process = _context().Process(target=_run, args=(arguments, dict(environment), str(out), str(err)))
    begin = time.monotonic()
    await asyncio.to_thread(process.start)
    try:
        async with asyncio.timeout(seconds * PROCESSES):
            if stop_at:
                await until(lambda: not process.is_alive() or stop_at in _text(err), seconds=None)
                if process.is_alive() and process.pid is not None:
                    os.kill(process.pid, signal.SIGTERM)
            await until(lambda: not process.is_alive(), seconds=None)
    except TimeoutError:
        process.kill()
    await asyncio.to_thread(process.join)
    assert process.exitcode is not None
    # The server of the forks loses an exit code now and then, and says 255.
    code = int(_text(folder / "code") or process.exitcode)
    return Ended(code, _text(out), _text(err), time.monotonic() - begin)


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@cache
def _context() -> multiprocessing.context.ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def _run(arguments: tuple[str, ...], environment: dict[str, str], out: str, err: str) -> None:
    """Become the command: its environment, its output files, its exit code."""
    for path, descriptor in ((out, 1), (err, 2)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["els", *arguments]
    try:
        main(list(arguments), prog_name="els")
    except SystemExit as end:
        Path(out).with_name("code").write_text(str(end.code or 0))
        raise

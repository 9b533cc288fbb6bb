"""Run `els` commands in tests, in a thread or as a process."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping

from click.testing import CliRunner, Result

from els_stream.cli import main


async def els(environment: Mapping[str, str], *arguments: str) -> Result:
    """Run a command in a thread; its errors other than an exit code are raised."""
    result = await asyncio.to_thread(
        CliRunner().invoke, main, list(arguments), env=dict(environment), prog_name="els", terminal_width=200
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


async def els_process(environment: Mapping[str, str], *arguments: str) -> tuple[int | None, str, str]:
    """Run a command as a process, for tests of signals; return exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "els_stream", *arguments), env=os.environ | environment, stdout=PIPE, stderr=PIPE
    )
    stdout, stderr = await process.communicate()
    return process.returncode, stdout.decode(), stderr.decode()

"""The command line as a test uses it: against the servers of the test, in a thread of its own."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Mapping

from click.testing import CliRunner, Result

from els_stream.cli import main


async def els(environment: Mapping[str, str], *arguments: str) -> Result:
    result = await asyncio.to_thread(
        CliRunner().invoke, main, list(arguments), env=dict(environment), prog_name="els", terminal_width=200
    )
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


async def els_process(environment: Mapping[str, str], *arguments: str) -> tuple[int | None, str, str]:
    """The same as a process of its own, for what has to do with signals; exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "els_stream", *arguments), env=os.environ | environment, stdout=PIPE, stderr=PIPE
    )
    said, complaint = await process.communicate()
    return process.returncode, said.decode(), complaint.decode()

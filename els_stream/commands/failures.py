"""The line and the exit code for an error that a command raised and did not expect.

Commands translate the errors of their servers where the address is known. What comes through is explained here.
"""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path

from aiokafka.errors import KafkaError

from els_stream.config.setting_types import CHECKOUT
from els_stream.db.errors import DATABASE_ERRORS
from els_stream.db.explanations import explain_database_error
from els_stream.errors import ElsError, ServersUnavailable


class UnexpectedError(ElsError):
    """A bug, or something of the environment that no one thought of."""

    code = "unexpected"
    exit_code = 70


class EnvironmentFailed(ElsError):
    """The operating system refused a file, a folder, a socket or a process."""

    code = "environment"
    exit_code = 2


def explain(error: BaseException) -> ElsError:
    """Return the error to show for this one."""
    if isinstance(error, ElsError):
        return error
    if isinstance(error, KafkaError):
        return ServersUnavailable(f"the broker does not answer: {type(error).__name__}")
    if isinstance(error, TimeoutError | ConnectionError):
        return ServersUnavailable(f"a server does not answer: {error.strerror or 'no answer in time'}")
    if isinstance(error, OSError):
        return EnvironmentFailed(_first_line(f"{error.filename}: {error.strerror}" if error.filename else error))
    if isinstance(error, DATABASE_ERRORS):
        return explain_database_error(error, "")
    what = "a cancelled task" if isinstance(error, asyncio.CancelledError) else type(error).__name__
    return UnexpectedError(f"unexpected: {what}{_place(error)}; `els --debug COMMAND` shows the traceback")


def _first_line(text: object) -> str:
    return str(text).partition("\n")[0]


def _place(error: BaseException) -> str:
    """Return the innermost line of this project: a message may hold data, a place does not."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_ours(frame.filename)]
    return f" at {Path(frames[-1].filename).relative_to(CHECKOUT)}:{frames[-1].lineno}" if frames else ""


def _is_ours(filename: str) -> bool:
    return Path(filename).is_relative_to(CHECKOUT) and "site-packages" not in filename

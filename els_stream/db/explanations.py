"""What to say about an error of the database: one line for an operator, with what to do, and the exit code."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import asyncpg
from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from els_stream.config.urls import mask_password
from els_stream.db.errors import DATABASE_ERRORS, chain, classify, sqlstate
from els_stream.errors import ConfigurationError, ElsError, SchemaOutdated, ServersUnavailable

# Their messages hold names of databases, roles, tables and columns, and no data of a row (PostgreSQL, appendix A).
_STATES_WITHOUT_DATA: Final = ("08", "25", "28", "3D", "3F", "42", "53", "55", "57")
# The first whose state is the beginning of the error's; `{}` is the reason.
_BY_STATE: Final[tuple[tuple[str, type[ElsError], str], ...]] = (
    ("28", ConfigurationError, "refuses the login: {}"),
    ("3D", ConfigurationError, "can't be used: {}"),
    ("42501", ConfigurationError, "refuses: {}; grant it to the role of ELS_DATABASE_URL"),
    ("42704", ConfigurationError, "refuses what a session asks for: {}"),
    ("42", SchemaOutdated, "has another schema than this code needs: {}; run `els migrate`"),
    ("3F", SchemaOutdated, "has no schema to use: {}"),
    ("22", ConfigurationError, "refuses a value: {}"),
    ("25006", ServersUnavailable, "is read-only: it is a standby, or was made one"),
    ("", ServersUnavailable, "does not answer: {}"),
)


@contextmanager
def explained(url: str, *, migrating: bool = False) -> Iterator[None]:
    """Raise errors of the database in the block as an ElsError. `url` may hold a password.

    A broken pipe is not one of them: the reader of the command's output has gone.
    With `migrating`, a schema that does not fit is not one that a migration repairs.
    """
    try:
        yield
    except (ElsError, BrokenPipeError):
        raise
    except DATABASE_ERRORS as error:
        shown = explain_database_error(error, url)
        if migrating and isinstance(shown, SchemaOutdated):
            shown = ConfigurationError(f"the database {mask_password(url)} can't be migrated: {reason(error)}")
        raise shown from error


def explain_database_error(error: BaseException, url: str) -> ElsError:
    """Return the error to raise for any of `db.errors.DATABASE_ERRORS`. `url` may hold a password, and may be empty."""
    where = f"the database {mask_password(url)}" if url else "the database"
    state = next(filter(None, map(sqlstate, chain(error))), None)
    if state is None:
        return _without_state(error, where)
    kind, text = next((kind, text) for beginning, kind, text in _BY_STATE if state.startswith(beginning))
    return kind(f"{where} {text.format(reason(error))}")


def _without_state(error: BaseException, where: str) -> ElsError:
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in chain(error)):
        return ConfigurationError(f"{where} has a certificate that can't be trusted: {reason(error)}")
    return ServersUnavailable(f"{where} does not answer: {reason(error)}")


def reason(error: BaseException) -> str:
    """Return the cause in a few words without data of a row."""
    for link in chain(error):
        state = sqlstate(link)
        if state is not None:
            return _first_line(link) if state.startswith(_STATES_WITHOUT_DATA) else classify(error).cause
        text = _reason_without_state(link)
        if text:
            return text
    return classify(error).cause


def _reason_without_state(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(getattr(error, "verify_message", error))
    if isinstance(error, TimeoutError | PoolTimeout):
        return "no answer in time"
    if isinstance(error, OSError):
        known = os.strerror(error.errno) if error.errno and not isinstance(error, socket.gaierror) else error.strerror
        return _first_line(known or error) or type(error).__name__
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError):
        return _first_line(error)
    return type(error).__name__ if isinstance(error, EOFError | PendingRollbackError) else ""


def _first_line(error: object) -> str:
    """Return the first line, without the class that SQLAlchemy's adapter puts before it."""
    line = str(error).partition("\n")[0]
    return line.partition(">: ")[2] if line.startswith("<class ") else line

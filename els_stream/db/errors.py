"""Classes of the errors that a transaction may raise; `consumer.retry_policy` says what is done about each.

SQLSTATE decides where there is one; a driver's complaint without one is a lost connection, except where it complains
about the values it was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class FailureClass(StrEnum):
    TRANSIENT = "transient"  # might work later: again, in place, as long as it takes
    TIMED_OUT = "timed_out"  # a statement took too long: again, then fewer records
    REFUSED = "refused"  # the database refuses the data
    BROKEN = "broken"  # a wrong schema, missing rights or a broken server
    MOVED = "moved"  # the ledger does not stand where this micro-batch begins
    BUG = "bug"  # anything unforeseen


class OffsetConflict(Exception):
    """The compare-and-set moved fewer rows than there are spans; the transaction was rolled back."""


# What a transaction may raise without a bug; `classify` tells these apart.
DATABASE_ERRORS: Final = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    EOFError,
    OffsetConflict,
)


@dataclass(frozen=True, slots=True)
class ClassifiedError:
    """`cause` is short and from a small set (a SQLSTATE or the name of a type): logs, metrics and readiness show it."""

    verdict: FailureClass
    cause: str


# After a server-side kill asyncpg may raise its own InternalClientError before it notices that the socket is gone.
CONNECTION_LOSSES = (asyncpg.InternalClientError, PoolTimeout, PendingRollbackError, OSError, EOFError)

QUERY_CANCELED = "57014"
FEATURE_NOT_SUPPORTED = "0A000"  # how PostgreSQL says that a cached plan must not change its result type
TRANSIENT_STATES = frozenset({"25006", "25P02", "25P03", "25P04"})
TRANSIENT_CLASSES = frozenset({"08", "28", "3D", "40", "53", "55", "57", "58"})
REFUSED_CLASSES = frozenset({"22", "23"})
BROKEN_CLASSES = frozenset({"3F", "42", "F0", "XX"})


def verdict_of_state(state: str) -> FailureClass:
    if state == QUERY_CANCELED:
        return FailureClass.TIMED_OUT
    if state in TRANSIENT_STATES or state[:2] in TRANSIENT_CLASSES:
        return FailureClass.TRANSIENT
    if state[:2] in REFUSED_CLASSES:
        return FailureClass.REFUSED
    return FailureClass.BROKEN if state[:2] in BROKEN_CLASSES else FailureClass.BUG


def _chain(error: BaseException) -> Iterator[BaseException]:
    """SQLAlchemy wraps its adapter's error, which was raised from asyncpg's."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.orig if isinstance(link, DBAPIError) else link.__cause__


def _state(error: BaseException) -> str | None:
    state: object = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) and state else None


def _without_state(error: BaseException) -> FailureClass | None:
    if isinstance(error, OffsetConflict):
        return FailureClass.MOVED
    if isinstance(error, asyncpg.InterfaceError):
        return FailureClass.REFUSED if isinstance(error, ValueError) else FailureClass.TRANSIENT
    return FailureClass.TRANSIENT if isinstance(error, CONNECTION_LOSSES) else None


def classify(error: BaseException) -> ClassifiedError:
    for link in _chain(error):
        if isinstance(link, asyncpg.InvalidCachedStatementError):
            return ClassifiedError(FailureClass.TRANSIENT, FEATURE_NOT_SUPPORTED)
        state = _state(link)
        if state is not None:
            return ClassifiedError(verdict_of_state(state), state)
        verdict = _without_state(link)
        if verdict is not None:
            return ClassifiedError(verdict, type(link).__name__)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return ClassifiedError(FailureClass.TRANSIENT, type(error).__name__)
    return ClassifiedError(FailureClass.BUG, type(error).__name__)

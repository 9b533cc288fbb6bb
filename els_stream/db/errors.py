"""Failure classes of the errors that a transaction may raise; `consumer.retry_policy` says what follows from each.

The SQLSTATE decides where there is one (PostgreSQL documentation, appendix A). An error of the driver without one is a
lost connection, unless the driver rejected the values it was given. A record is at fault for a violated constraint only
if its own data can violate it: an identity counter that went back, or a trigger of somebody else, is not its fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import asyncpg
from sqlalchemy.exc import DBAPIError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from els_stream.errors import DatabaseUnusable, OutboxConflict


class FailureClass(StrEnum):
    TRANSIENT = "transient"  # may work later: retry in place without an end
    TIMED_OUT = "timed_out"  # a statement took too long: retry, then with fewer records
    DATA_ERROR = "data_error"  # the database rejects the data
    FATAL = "fatal"  # a wrong schema or state of the database, missing rights or a broken server
    OFFSET_CONFLICT = "offset_conflict"  # the stored offset is not where this micro-batch starts
    UNEXPECTED = "unexpected"  # anything else, such as a bug


class OffsetConflict(Exception):
    """The compare-and-set advanced fewer rows than there are offset ranges; the transaction was rolled back."""


# What a transaction may raise without a bug in this code; `classify` distinguishes them.
DATABASE_ERRORS: Final = (
    SQLAlchemyError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    EOFError,
    DatabaseUnusable,
    OffsetConflict,
    OutboxConflict,
)


@dataclass(frozen=True, slots=True)
class ClassifiedError:
    """`cause` is short and without data, fit for logs, metrics and readiness.

    It is a SQLSTATE, with the name of the constraint if one is violated that no record's data can violate, or the name
    of a type.
    """

    failure_class: FailureClass
    cause: str


# After a server-side kill asyncpg may raise its own InternalClientError before it notices that the socket is closed.
CONNECTION_ERRORS = (asyncpg.InternalClientError, PoolTimeout, PendingRollbackError, OSError, EOFError)

QUERY_CANCELED = "57014"
FEATURE_NOT_SUPPORTED = "0A000"  # PostgreSQL's code for a cached plan that must not change its result type
# Of classes 55 and 58 only what passes: 55000, such as a table without a replica identity, stays until it is changed.
# 26000 and 42P05: a prepared statement of another backend, from a pooler that keeps no sessions.
TRANSIENT_STATES = frozenset({"25006", "25P02", "25P03", "25P04", "26000", "42P05", "55006", "55P03", "58000", "58030"})
TRANSIENT_CLASSES = frozenset({"08", "28", "3D", "40", "53", "57"})
# A limit of the server that COMMIT reaches, such as a full queue of notifications; statements reach it by their data.
TRANSIENT_AT_COMMIT = frozenset({"54"})
SEQUENCE_LIMIT_EXCEEDED = "2200H"
DATA_ERROR_CLASSES = frozenset({"22"})
CONSTRAINT_VIOLATIONS = "23"
FATAL_CLASSES = frozenset({"3F", "42", "55", "58", "F0", "XX"})

# The constraints that the data of a record can violate. All others hold whatever a record contains.
RECORD_CONSTRAINTS = frozenset(
    {
        "ck_batch_essay_trackers_batch_id_length",
        "ck_essay_states_association_confidence",
        "ck_essay_states_association_method",
        "ck_essay_states_essay_id_length",
        "pk_batch_excess_content",
        "pk_batch_pending_events",
        "pk_batch_validation_failures",
        "pk_essay_states",
        "pk_slot_assignments",
        "uq_batch_excess_content_upload",
        "uq_essay_states_text",
        "uq_essay_states_upload",
        "uq_slot_assignments_text",
        "uq_slot_assignments_upload",
    }
)


def classify_sqlstate(state: str, *, constraint: str | None = None, at_commit: bool = False) -> FailureClass:
    """Return the failure class of a five-character SQLSTATE; `constraint` is the violated one."""
    group = state[:2]
    if state == QUERY_CANCELED:
        return FailureClass.TIMED_OUT
    if state in TRANSIENT_STATES or group in TRANSIENT_CLASSES or (at_commit and group in TRANSIENT_AT_COMMIT):
        return FailureClass.TRANSIENT
    if group == CONSTRAINT_VIOLATIONS:
        return FailureClass.DATA_ERROR if constraint in RECORD_CONSTRAINTS else FailureClass.FATAL
    if group in FATAL_CLASSES or state == SEQUENCE_LIMIT_EXCEEDED:
        return FailureClass.FATAL
    return FailureClass.DATA_ERROR if group in DATA_ERROR_CLASSES else FailureClass.UNEXPECTED


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes: SQLAlchemy wraps its adapter's error, which was raised from asyncpg's."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.orig if isinstance(link, DBAPIError) else link.__cause__


def sqlstate(error: BaseException) -> str | None:
    state: object = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) and state else None


def _classify_state(error: BaseException, state: str) -> ClassifiedError:
    names = (getattr(link, "constraint_name", None) for link in chain(error))
    constraint = next((name for name in names if isinstance(name, str)), None)
    # SQLAlchemy knows the statement of every error but those of COMMIT and ROLLBACK.
    at_commit = isinstance(error, DBAPIError) and error.statement is None
    failure_class = classify_sqlstate(state, constraint=constraint, at_commit=at_commit)
    named = constraint is not None and failure_class is FailureClass.FATAL
    return ClassifiedError(failure_class, f"{state} {constraint}" if named else state)


def _classify_type(error: BaseException) -> FailureClass | None:
    if isinstance(error, OffsetConflict):
        return FailureClass.OFFSET_CONFLICT
    if isinstance(error, OutboxConflict):
        return FailureClass.FATAL
    if isinstance(error, DatabaseUnusable):
        return FailureClass.TRANSIENT  # it is an operator's to change, and no record's fault
    if isinstance(error, asyncpg.InterfaceError):
        return FailureClass.DATA_ERROR if isinstance(error, ValueError) else FailureClass.TRANSIENT
    return FailureClass.TRANSIENT if isinstance(error, CONNECTION_ERRORS) else None


def classify(error: BaseException) -> ClassifiedError:
    """Return the failure class and cause of any error, by the first link of its chain that shows one."""
    for link in chain(error):
        if isinstance(link, asyncpg.InvalidCachedStatementError):
            return ClassifiedError(FailureClass.TRANSIENT, FEATURE_NOT_SUPPORTED)
        state = sqlstate(link)
        if state is not None:
            return _classify_state(error, state)
        failure_class = _classify_type(link)
        if failure_class is not None:
            return ClassifiedError(failure_class, type(link).__name__)
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return ClassifiedError(FailureClass.TRANSIENT, type(error).__name__)
    return ClassifiedError(FailureClass.UNEXPECTED, type(error).__name__)

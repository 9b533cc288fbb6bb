from __future__ import annotations

import asyncpg
import pytest
from asyncpg.exceptions._base import DataError as ClientDataError
from sqlalchemy import Table
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.schema import ColumnCollectionConstraint

from els_stream.db.errors import (
    RECORD_CONSTRAINTS,
    ClassifiedError,
    FailureClass,
    OffsetConflict,
    classify,
    classify_sqlstate,
)
from els_stream.errors import OutboxConflict
from tables import metadata


def wrapped(cause: Exception) -> DBAPIError:
    """Wrap an error as SQLAlchemy does: in its adapter's error, raised from asyncpg's."""
    adapter = RuntimeError("adapter")
    adapter.__cause__ = cause
    return DBAPIError("SELECT 1", {}, adapter)


def at_commit(cause: Exception) -> DBAPIError:
    """Wrap an error of COMMIT: SQLAlchemy names no statement."""
    error = wrapped(cause)
    error.statement = None
    return error


def violation(constraint: str) -> asyncpg.UniqueViolationError:
    return asyncpg.UniqueViolationError.new({"C": "23505", "M": "twice", "n": constraint})


def named(table: Table) -> list[ColumnCollectionConstraint]:
    return [one for one in table.constraints if isinstance(one, ColumnCollectionConstraint)]


def name_of(error: Exception) -> str:
    """Return the name of asyncpg's class where there is one, with the constraint."""
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig is not None else None
    kind = type(cause or error)
    when = ", COMMIT" if isinstance(error, DBAPIError) and error.statement is None else ""
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__} {getattr(cause, 'constraint_name', None) or ''}{when}"


@pytest.mark.parametrize(
    ("error", "failure_class"),
    [
        (wrapped(asyncpg.ConnectionDoesNotExistError("gone")), FailureClass.TRANSIENT),
        (wrapped(asyncpg.InterfaceError("connection is closed")), FailureClass.TRANSIENT),
        (wrapped(asyncpg.InternalClientError("state")), FailureClass.TRANSIENT),
        (wrapped(asyncpg.InvalidCachedStatementError("plan")), FailureClass.TRANSIENT),
        (wrapped(asyncpg.DeadlockDetectedError("deadlock")), FailureClass.TRANSIENT),
        (wrapped(asyncpg.LockNotAvailableError("lock")), FailureClass.TRANSIENT),
        (wrapped(asyncpg.AdminShutdownError("shutdown")), FailureClass.TRANSIENT),
        (wrapped(asyncpg.IdleInTransactionSessionTimeoutError("idle")), FailureClass.TRANSIENT),
        (wrapped(asyncpg.TooManyConnectionsError("many")), FailureClass.TRANSIENT),
        (wrapped(asyncpg.QueryCanceledError("slow")), FailureClass.TIMED_OUT),
        (wrapped(violation("uq_essay_states_text")), FailureClass.DATA_ERROR),
        (wrapped(asyncpg.NumericValueOutOfRangeError("large")), FailureClass.DATA_ERROR),
        (wrapped(ClientDataError("$1: value out of int64 range")), FailureClass.DATA_ERROR),
        (wrapped(asyncpg.UndefinedTableError("no table")), FailureClass.FATAL),
        (wrapped(asyncpg.DataCorruptedError("page")), FailureClass.FATAL),
        (wrapped(asyncpg.FeatureNotSupportedError("no")), FailureClass.UNEXPECTED),
        (wrapped(asyncpg.RaiseError("by a trigger")), FailureClass.UNEXPECTED),
        (IntegrityError("INSERT", {}, asyncpg.ForeignKeyViolationError("no parent")), FailureClass.FATAL),
        (wrapped(violation("uq_event_outbox_position")), FailureClass.FATAL),
        (wrapped(violation("uq_of_a_neighbour")), FailureClass.FATAL),
        (wrapped(asyncpg.NotNullViolationError("null")), FailureClass.FATAL),
        (wrapped(asyncpg.SequenceGeneratorLimitExceededError("the end")), FailureClass.FATAL),
        (wrapped(asyncpg.ObjectNotInPrerequisiteStateError("no replica identity")), FailureClass.FATAL),
        (wrapped(asyncpg.ObjectInUseError("in use")), FailureClass.TRANSIENT),
        (wrapped(asyncpg.ProgramLimitExceededError("a large row")), FailureClass.UNEXPECTED),
        (at_commit(asyncpg.ProgramLimitExceededError("many notifications")), FailureClass.TRANSIENT),
        (at_commit(asyncpg.RaiseError("by a trigger")), FailureClass.UNEXPECTED),
        (PoolTimeout("queue"), FailureClass.TRANSIENT),
        (ConnectionRefusedError(), FailureClass.TRANSIENT),
        (TimeoutError(), FailureClass.TRANSIENT),
        (OffsetConflict(), FailureClass.OFFSET_CONFLICT),
        (OutboxConflict("two contents"), FailureClass.FATAL),
        (KeyError("essay"), FailureClass.UNEXPECTED),
    ],
    ids=lambda value: value.value if isinstance(value, FailureClass) else name_of(value),
)
def test_each_error_has_its_failure_class(error: Exception, failure_class: FailureClass) -> None:
    assert classify(error).failure_class is failure_class


def test_the_cause_is_the_sqlstate_where_there_is_one() -> None:
    refused = classify(wrapped(violation("uq_essay_states_text")))
    assert refused == ClassifiedError(FailureClass.DATA_ERROR, "23505")
    assert classify(KeyError("name")).cause == "KeyError"


@pytest.mark.parametrize("state", ["25006", "25P02", "25P03", "25P04", "28000", "3D000", "40001", "53300", "58030"])
def test_states_that_may_pass_are_transient(state: str) -> None:
    assert classify_sqlstate(state) is FailureClass.TRANSIENT


def test_the_cause_names_a_constraint_that_no_record_can_violate() -> None:
    """Operators see in the log and in readiness which counter or table is wrong."""
    failure = classify(wrapped(violation("uq_event_outbox_position")))
    assert failure == ClassifiedError(FailureClass.FATAL, "23505 uq_event_outbox_position")


def test_constraints_of_records_exist_and_have_no_identity_column() -> None:
    unique = [(index.name, index.columns) for table in metadata.tables.values() for index in table.indexes]
    constraints = [(one.name, one.columns) for table in metadata.tables.values() for one in named(table)]
    columns = {str(name): list(of) for name, of in [*unique, *constraints]}

    assert set(columns) >= RECORD_CONSTRAINTS
    assert not [name for name in RECORD_CONSTRAINTS if any(column.identity for column in columns[name])]

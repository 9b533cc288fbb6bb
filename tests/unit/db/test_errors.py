from __future__ import annotations

import asyncpg
import pytest
from asyncpg.exceptions._base import DataError as ClientDataError
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from els_stream.consumer.retry_policy import ALONE, MICRO_BATCH, Step, step
from els_stream.db.errors import Failure, LedgerMoved, Verdict, classify, verdict_of_state
from els_stream.errors import OutboxConflict


def wrapped(cause: Exception) -> DBAPIError:
    """As SQLAlchemy wraps it: its adapter's error, raised from asyncpg's."""
    adapter = RuntimeError("adapter")
    adapter.__cause__ = cause
    return DBAPIError("SELECT 1", {}, adapter)


def name_of(error: Exception) -> str:
    """Of asyncpg's class where there is one."""
    cause = error.orig.__cause__ if isinstance(error, DBAPIError) and error.orig is not None else None
    kind = type(cause or error)
    return f"{kind.__module__.partition('.')[0]}.{kind.__name__}"


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (wrapped(asyncpg.ConnectionDoesNotExistError("gone")), Verdict.TRANSIENT),
        (wrapped(asyncpg.InterfaceError("connection is closed")), Verdict.TRANSIENT),
        (wrapped(asyncpg.InternalClientError("state")), Verdict.TRANSIENT),
        (wrapped(asyncpg.InvalidCachedStatementError("plan")), Verdict.TRANSIENT),
        (wrapped(asyncpg.DeadlockDetectedError("deadlock")), Verdict.TRANSIENT),
        (wrapped(asyncpg.LockNotAvailableError("lock")), Verdict.TRANSIENT),
        (wrapped(asyncpg.AdminShutdownError("shutdown")), Verdict.TRANSIENT),
        (wrapped(asyncpg.IdleInTransactionSessionTimeoutError("idle")), Verdict.TRANSIENT),
        (wrapped(asyncpg.TooManyConnectionsError("many")), Verdict.TRANSIENT),
        (wrapped(asyncpg.QueryCanceledError("slow")), Verdict.TIMED_OUT),
        (wrapped(asyncpg.UniqueViolationError("twice")), Verdict.REFUSED),
        (wrapped(asyncpg.NumericValueOutOfRangeError("large")), Verdict.REFUSED),
        (wrapped(ClientDataError("$1: value out of int64 range")), Verdict.REFUSED),
        (wrapped(asyncpg.UndefinedTableError("no table")), Verdict.BROKEN),
        (wrapped(asyncpg.DataCorruptedError("page")), Verdict.BROKEN),
        (wrapped(asyncpg.FeatureNotSupportedError("no")), Verdict.BUG),
        (wrapped(asyncpg.RaiseError("by a trigger")), Verdict.BUG),
        (IntegrityError("INSERT", {}, asyncpg.ForeignKeyViolationError("no parent")), Verdict.REFUSED),
        (PoolTimeout("queue"), Verdict.TRANSIENT),
        (ConnectionRefusedError(), Verdict.TRANSIENT),
        (TimeoutError(), Verdict.TRANSIENT),
        (LedgerMoved(), Verdict.MOVED),
        (OutboxConflict("two contents"), Verdict.BUG),
        (KeyError("essay"), Verdict.BUG),
    ],
    ids=lambda value: value.value if isinstance(value, Verdict) else name_of(value),
)
def test_each_error_has_its_verdict(error: Exception, verdict: Verdict) -> None:
    assert classify(error).verdict is verdict


def test_the_cause_is_the_sqlstate_where_there_is_one() -> None:
    assert classify(wrapped(asyncpg.UniqueViolationError("twice"))) == Failure(Verdict.REFUSED, "23505")
    assert classify(KeyError("name")).cause == "KeyError"


@pytest.mark.parametrize("state", ["25006", "25P02", "25P03", "25P04", "28000", "3D000", "40001", "53300", "58030"])
def test_states_that_may_pass_are_transient(state: str) -> None:
    assert verdict_of_state(state) is Verdict.TRANSIENT


def test_every_verdict_has_a_policy() -> None:
    assert set(MICRO_BATCH) == set(ALONE) == set(Verdict)


def test_only_suspects_and_refusals_of_single_records_ever_become_dead_letters() -> None:
    burying = {Step.SUSPECT, Step.REFUSE}
    assert not burying & {step for steps in MICRO_BATCH.values() for step in steps}
    assert {verdict for verdict, steps in ALONE.items() if burying & set(steps)} == {Verdict.BUG, Verdict.REFUSED}


def test_the_last_step_repeats() -> None:
    assert [step(ALONE, Verdict.TIMED_OUT, times) for times in (1, 2, 3, 99)] == [
        Step.AGAIN,
        Step.HOLD,
        Step.HOLD,
        Step.HOLD,
    ]

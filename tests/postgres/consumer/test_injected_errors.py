"""Errors that PostgreSQL may raise at any time, injected into the claim and into the COMMIT."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from els_stream.db.errors import FailureClass, classify
from tests.support.batch_harness import BatchHarness

DEADLOCK = "RAISE EXCEPTION 'injected' USING ERRCODE = '40P01'"
SERIALIZATION = "RAISE EXCEPTION 'injected' USING ERRCODE = '40001'"
KILLED = "PERFORM pg_terminate_backend(pg_backend_pid())"
IN_THE_CLAIM = "CREATE TRIGGER injected BEFORE UPDATE ON essay_states FOR EACH ROW EXECUTE FUNCTION injected()"
AT_COMMIT = """
    CREATE CONSTRAINT TRIGGER injected AFTER UPDATE ON essay_states DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION injected()
"""


async def inject(harness: BatchHarness, error: str, where: str) -> None:
    await harness.execute(
        f"CREATE FUNCTION injected() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {error}; RETURN NEW; END $$"
    )
    await harness.execute(where)


@pytest.mark.parametrize("where", [IN_THE_CLAIM, AT_COMMIT], ids=["in the claim", "at commit"])
@pytest.mark.parametrize("error", [DEADLOCK, SERIALIZATION, KILLED], ids=["40P01", "40001", "killed"])
async def test_a_transient_error_rolls_back_and_the_retry_succeeds(
    harness: BatchHarness, error: str, where: str
) -> None:
    await harness.together(harness.registration(essays=2))
    contents = harness.contents([0, 1, 2])
    await inject(harness, error, where)

    with pytest.raises((DBAPIError, InterfaceError, OperationalError)) as caught:
        await harness.together(*contents)

    assert classify(caught.value).failure_class is FailureClass.TRANSIENT
    assert await harness.counts() == ("open", 2, 0, 0, 0)
    assert await harness.outbox_events() == []
    await harness.execute("DROP TRIGGER injected ON essay_states")
    assert await harness.together(*contents) == ["assigned", "assigned", "excess"]
    assert await harness.kinds() == ["assigned", "assigned", "completed", "excess"]

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

from els_stream.failpoints import (
    CONFIRMATION_VARIABLE,
    CONFIRMED,
    EXIT_CODE,
    FAILPOINT_VARIABLE,
    Failpoint,
    create_failpoint,
    failpoint,
    noop,
)

TEST = {CONFIRMATION_VARIABLE: CONFIRMED}
PASS_TWICE = """
from els_stream.failpoints import Failpoint, failpoint
for number in (1, 2):
    failpoint(Failpoint.BEFORE_COMMIT)
    failpoint(Failpoint.AFTER_COMMIT)
    print(number, flush=True)
"""


def run_with(environ: Mapping[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", PASS_TWICE], env=dict(environ), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_failpoints_are_off_by_default() -> None:
    assert failpoint is noop
    assert create_failpoint({}) is noop


@pytest.mark.parametrize("confirmation", [{}, {CONFIRMATION_VARIABLE: ""}, {CONFIRMATION_VARIABLE: "yes"}])
def test_a_failpoint_needs_a_confirmation(confirmation: Mapping[str, str]) -> None:
    assert create_failpoint({FAILPOINT_VARIABLE: Failpoint.AFTER_CLAIM, **confirmation}) is noop


def test_a_confirmation_alone_does_nothing() -> None:
    assert create_failpoint(TEST) is noop


def test_an_unknown_failpoint_is_an_error() -> None:
    with pytest.raises(ValueError, match="after_tea"):
        create_failpoint({FAILPOINT_VARIABLE: "after_tea", **TEST})


def test_the_process_ends_at_the_named_failpoint() -> None:
    assert run_with({}) == (0, "1\n2\n")
    assert run_with({FAILPOINT_VARIABLE: Failpoint.AFTER_COMMIT, **TEST}) == (EXIT_CODE, "")
    assert run_with({FAILPOINT_VARIABLE: f"{Failpoint.AFTER_COMMIT}:1", **TEST}) == (EXIT_CODE, "1\n")
    assert run_with({FAILPOINT_VARIABLE: f"{Failpoint.AFTER_COMMIT}:2", **TEST}) == (0, "1\n2\n")

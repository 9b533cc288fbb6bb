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
REACH_TWICE = """
from els_stream.failpoints import Failpoint, reach
for number in (1, 2):
    reach(Failpoint.BEFORE_COMMIT)
    reach(Failpoint.AFTER_COMMIT)
    print(number, flush=True)
"""


def reached(environ: Mapping[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", REACH_TWICE], env=dict(environ), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_no_point_is_armed_here_or_in_production() -> None:
    assert failpoint is noop
    assert create_failpoint({}) is noop


@pytest.mark.parametrize("confirmation", [{}, {CONFIRMATION_VARIABLE: ""}, {CONFIRMATION_VARIABLE: "yes"}])
def test_a_point_alone_is_not_enough(confirmation: Mapping[str, str]) -> None:
    assert create_failpoint({FAILPOINT_VARIABLE: Failpoint.AFTER_CLAIM, **confirmation}) is noop


def test_a_confirmation_alone_is_not_enough() -> None:
    assert create_failpoint(TEST) is noop


def test_a_point_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="after_tea"):
        create_failpoint({FAILPOINT_VARIABLE: "after_tea", **TEST})


def test_the_process_ends_where_the_environment_says() -> None:
    assert reached({}) == (0, "1\n2\n")
    assert reached({FAILPOINT_VARIABLE: Failpoint.AFTER_COMMIT, **TEST}) == (EXIT_CODE, "")
    assert reached({FAILPOINT_VARIABLE: f"{Failpoint.AFTER_COMMIT}:1", **TEST}) == (EXIT_CODE, "1\n")
    assert reached({FAILPOINT_VARIABLE: f"{Failpoint.AFTER_COMMIT}:2", **TEST}) == (0, "1\n2\n")

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest

from els_stream.failpoints import CONFIRMATION, CONFIRMED, EXIT_CODE, PLACE, Failpoint, armed, pass_by, reach

TEST = {CONFIRMATION: CONFIRMED}
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
    assert reach is pass_by
    assert armed({}) is pass_by


@pytest.mark.parametrize("confirmation", [{}, {CONFIRMATION: ""}, {CONFIRMATION: "yes"}])
def test_a_point_alone_is_not_enough(confirmation: Mapping[str, str]) -> None:
    assert armed({PLACE: Failpoint.AFTER_CLAIM, **confirmation}) is pass_by


def test_a_confirmation_alone_is_not_enough() -> None:
    assert armed(TEST) is pass_by


def test_a_point_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="after_tea"):
        armed({PLACE: "after_tea", **TEST})


def test_the_process_ends_where_the_environment_says() -> None:
    assert reached({}) == (0, "1\n2\n")
    assert reached({PLACE: Failpoint.AFTER_COMMIT, **TEST}) == (EXIT_CODE, "")
    assert reached({PLACE: f"{Failpoint.AFTER_COMMIT}:1", **TEST}) == (EXIT_CODE, "1\n")
    assert reached({PLACE: f"{Failpoint.AFTER_COMMIT}:2", **TEST}) == (0, "1\n2\n")

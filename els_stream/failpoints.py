"""Places where a test may have the process end at once, as a crash would, between two effects that belong together.

Off, and free of cost, unless the environment names a place and says besides that this is a test. Neither variable is
a setting: nothing of production names them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum, unique
from typing import Final

PLACE: Final = "TEST_CRASH_AT"  # `after_claim`, or `after_claim:3` to pass it three times first
CONFIRMATION: Final = "TEST_CRASH_CONFIRMED"
CONFIRMED: Final = "this is a test"
EXIT_CODE: Final = 86


@unique
class Failpoint(StrEnum):
    AFTER_ADOPT = "after_adopt"  # the ledger has its first rows, nothing was fetched
    AFTER_CLAIM = "after_claim"  # slots are taken, nothing is told of them
    AFTER_PARKING = "after_parking"
    AFTER_REGISTRATION = "after_registration"  # the batch is open, what was parked for it is not used yet
    IN_BURIAL = "in_burial"  # between the dead letter and its event
    BEFORE_COMMIT = "before_commit"  # the ledger has moved as well
    AFTER_COMMIT = "after_commit"  # the lane has not been told
    AFTER_SEND = "after_send"  # the broker has acked, the outbox rows are there still


Reach = Callable[[Failpoint], None]


def pass_by(_: Failpoint) -> None:
    """What production does at every point."""


def armed(environ: Mapping[str, str]) -> Reach:
    """Ends the process at the point that the environment names; raises ValueError for one that does not exist."""
    if environ.get(CONFIRMATION) != CONFIRMED or PLACE not in environ:
        return pass_by
    name, _, passes = environ[PLACE].partition(":")
    point, left = Failpoint(name), iter(range(int(passes or 0)))

    def reach_armed(reached: Failpoint) -> None:
        if reached is point and next(left, None) is None:
            sys.stderr.write(f"els: crash point {point}\n")
            sys.stderr.flush()
            os._exit(EXIT_CODE)

    return reach_armed


reach: Final[Reach] = armed(os.environ)

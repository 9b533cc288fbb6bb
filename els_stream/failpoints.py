"""Points at which a test can end the process at once, as a crash would, between two effects that belong together.

They are off, and cost nothing, unless one environment variable names a point and another confirms that this is a test.
Neither variable is a setting, so no production configuration can contain them by accident.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum, unique
from typing import Final

FAILPOINT_VARIABLE: Final = "TEST_CRASH_AT"  # `after_claim`; `after_claim:3` skips the point three times first
CONFIRMATION_VARIABLE: Final = "TEST_CRASH_CONFIRMED"
CONFIRMED: Final = "this is a test"
EXIT_CODE: Final = 86


@unique
class Failpoint(StrEnum):
    AFTER_OFFSETS_INITIALIZED = "after_offsets_initialized"  # the first offsets are stored, nothing is fetched
    AFTER_CLAIM = "after_claim"  # slots are claimed, their events are not in the outbox
    AFTER_PENDING_INSERT = "after_pending_insert"
    AFTER_REGISTRATION = "after_registration"  # the batch is open, its pending events are not applied
    AFTER_DEAD_LETTER_INSERT = "after_dead_letter_insert"  # the dead letter is written, its event is not
    BEFORE_COMMIT = "before_commit"  # the offsets are advanced as well
    AFTER_COMMIT = "after_commit"  # the buffers do not know of the commit
    AFTER_OUTBOX_INSERT = "after_outbox_insert"  # events are in the outbox, their trackers do not know of the segment
    AFTER_SEND = "after_send"  # the broker has acked, the segments still exist
    AFTER_MOVE_ASIDE = "after_move_aside"  # refused events are exceptions, acked segments still exist
    AFTER_SEGMENT_DELETE = "after_segment_delete"  # the relay does not know of the deletion


FailpointFunction = Callable[[Failpoint], None]


def noop(_: Failpoint) -> None:
    """Do nothing, as every failpoint does in production."""


def create_failpoint(environ: Mapping[str, str]) -> FailpointFunction:
    """Return a function that ends the process at the point that the environment names.

    Raises ValueError when there is no such point.
    """
    if environ.get(CONFIRMATION_VARIABLE) != CONFIRMED or FAILPOINT_VARIABLE not in environ:
        return noop
    name, _, skips = environ[FAILPOINT_VARIABLE].partition(":")
    armed, remaining_skips = Failpoint(name), iter(range(int(skips or 0)))

    def end_process(reached: Failpoint) -> None:
        if reached is armed and next(remaining_skips, None) is None:
            sys.stderr.write(f"els: failpoint {armed}\n")
            sys.stderr.flush()
            os._exit(EXIT_CODE)

    return end_process


failpoint: Final[FailpointFunction] = create_failpoint(os.environ)

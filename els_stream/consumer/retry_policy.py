"""The failure policy as data: what is done after the n-th failure of a kind; the last step of a row repeats."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from els_stream.db.errors import FailureClass


class Action(StrEnum):
    AGAIN = "again"  # at once: the ledger was asked, and waited for the predecessors
    PAUSE = "pause"  # again after a backoff, readiness off
    HALVES = "halves"  # each half for itself
    BY_PARTITION = "by_partition"  # each partition for itself
    ONE_BY_ONE = "one_by_one"
    HOLD = "hold"  # position the partition anew after a backoff, readiness off
    SUSPECT = "suspect"  # a dead letter, if others pass after it
    REFUSE = "refuse"  # a dead letter


RetryPolicy: TypeAlias = Mapping[FailureClass, tuple[Action, ...]]

MICRO_BATCH: Final[RetryPolicy] = {
    FailureClass.OFFSET_CONFLICT: (Action.AGAIN, Action.AGAIN, Action.PAUSE),
    FailureClass.TRANSIENT: (Action.PAUSE,),
    FailureClass.TIMED_OUT: (Action.AGAIN, Action.HALVES),
    FailureClass.DATA_ERROR: (
        Action.AGAIN,
        Action.ONE_BY_ONE,
    ),  # the echo of a repeat that another worker commits passes then
    FailureClass.FATAL: (Action.BY_PARTITION,),
    FailureClass.UNEXPECTED: (Action.ONE_BY_ONE,),
}

ALONE: Final[RetryPolicy] = {
    FailureClass.OFFSET_CONFLICT: (Action.AGAIN, Action.AGAIN, Action.PAUSE),
    FailureClass.TRANSIENT: (Action.PAUSE,),
    FailureClass.TIMED_OUT: (Action.AGAIN, Action.HOLD),
    FailureClass.DATA_ERROR: (Action.AGAIN, Action.REFUSE),
    FailureClass.FATAL: (Action.HOLD,),
    FailureClass.UNEXPECTED: (Action.SUSPECT,),
}


def step(policy: RetryPolicy, verdict: FailureClass, times: int) -> Action:
    """`times` counts the failures of this verdict, this one with them."""
    steps = policy[verdict]
    return steps[min(times, len(steps)) - 1]

"""The failure policy as data: what is done after the n-th failure of a kind; the last step of a row repeats."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from els_stream.db.errors import Verdict


class Step(StrEnum):
    AGAIN = "again"  # at once: the ledger was asked, and waited for the predecessors
    PAUSE = "pause"  # again after a backoff, readiness off
    HALVES = "halves"  # each half for itself
    BY_PARTITION = "by_partition"  # each partition for itself
    ONE_BY_ONE = "one_by_one"
    HOLD = "hold"  # position the partition anew after a backoff, readiness off
    SUSPECT = "suspect"  # a dead letter, if others pass after it
    REFUSE = "refuse"  # a dead letter


Policy: TypeAlias = Mapping[Verdict, tuple[Step, ...]]

MICRO_BATCH: Final[Policy] = {
    Verdict.MOVED: (Step.AGAIN, Step.AGAIN, Step.PAUSE),
    Verdict.TRANSIENT: (Step.PAUSE,),
    Verdict.TIMED_OUT: (Step.AGAIN, Step.HALVES),
    Verdict.REFUSED: (Step.AGAIN, Step.ONE_BY_ONE),  # the echo of a repeat that another worker commits passes then
    Verdict.BROKEN: (Step.BY_PARTITION,),
    Verdict.BUG: (Step.ONE_BY_ONE,),
}

ALONE: Final[Policy] = {
    Verdict.MOVED: (Step.AGAIN, Step.AGAIN, Step.PAUSE),
    Verdict.TRANSIENT: (Step.PAUSE,),
    Verdict.TIMED_OUT: (Step.AGAIN, Step.HOLD),
    Verdict.REFUSED: (Step.AGAIN, Step.REFUSE),
    Verdict.BROKEN: (Step.HOLD,),
    Verdict.BUG: (Step.SUSPECT,),
}


def step(policy: Policy, verdict: Verdict, times: int) -> Step:
    """`times` counts the failures of this verdict, this one with them."""
    steps = policy[verdict]
    return steps[min(times, len(steps)) - 1]

"""The failure policy as two tables: the action after the n-th failure of each class. The last action of a row repeats.

`MICRO_BATCH` is for a batch of records, `SINGLE_RECORD` for a record that is tried alone after its batch failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, TypeAlias

from els_stream.db.errors import FailureClass


class Action(Enum):
    RETRY = auto()  # at once: the stored offsets are reloaded, the preceding micro-batch has ended
    BACK_OFF = auto()  # retry after a backoff; not ready meanwhile
    SPLIT = auto()  # process each half for itself
    SPLIT_BY_PARTITION = auto()
    ISOLATE = auto()  # process each record for itself
    PAUSE_PARTITION = auto()  # restart the partition after a backoff; not ready meanwhile
    DEAD_LETTER_IF_OTHERS_PASS = auto()  # only if it fails between two passes of a different record
    DEAD_LETTER = auto()


RetryPolicy: TypeAlias = Mapping[FailureClass, tuple[Action, ...]]

MICRO_BATCH: Final[RetryPolicy] = {
    FailureClass.OFFSET_CONFLICT: (Action.RETRY, Action.RETRY, Action.BACK_OFF),
    FailureClass.TRANSIENT: (Action.BACK_OFF,),
    FailureClass.TIMED_OUT: (Action.RETRY, Action.SPLIT),
    # A unique violation because another worker commits the same record passes at the retry, as a repeat.
    FailureClass.DATA_ERROR: (Action.RETRY, Action.ISOLATE),
    # The batches of a violated constraint are recounted at the retry.
    FailureClass.FATAL: (Action.RETRY, Action.SPLIT_BY_PARTITION),
    FailureClass.UNEXPECTED: (Action.ISOLATE,),
}

SINGLE_RECORD: Final[RetryPolicy] = {
    FailureClass.OFFSET_CONFLICT: (Action.RETRY, Action.RETRY, Action.BACK_OFF),
    FailureClass.TRANSIENT: (Action.BACK_OFF,),
    FailureClass.TIMED_OUT: (Action.RETRY, Action.PAUSE_PARTITION),
    FailureClass.DATA_ERROR: (Action.RETRY, Action.DEAD_LETTER),
    FailureClass.FATAL: (Action.PAUSE_PARTITION,),
    FailureClass.UNEXPECTED: (Action.DEAD_LETTER_IF_OTHERS_PASS,),
}


def next_action(policy: RetryPolicy, failure_class: FailureClass, failures: int) -> Action:
    """Return the action after so many failures of this class, counting from 1."""
    actions = policy[failure_class]
    return actions[min(failures, len(actions)) - 1]

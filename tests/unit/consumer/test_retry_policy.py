from __future__ import annotations

import pytest

from els_stream.consumer.retry_policy import MICRO_BATCH, SINGLE_RECORD, Action, next_action
from els_stream.db.errors import FailureClass

DEAD_LETTERING = {Action.DEAD_LETTER, Action.DEAD_LETTER_IF_OTHERS_PASS}


def test_every_failure_class_has_a_policy() -> None:
    assert set(MICRO_BATCH) == set(SINGLE_RECORD) == set(FailureClass)


def test_only_single_records_become_dead_letters() -> None:
    assert not DEAD_LETTERING & {action for actions in MICRO_BATCH.values() for action in actions}
    assert {failure_class for failure_class, actions in SINGLE_RECORD.items() if DEAD_LETTERING & set(actions)} == {
        FailureClass.UNEXPECTED,
        FailureClass.DATA_ERROR,
    }


@pytest.mark.parametrize(
    ("failures", "action"),
    [(1, Action.RETRY), (2, Action.PAUSE_PARTITION), (3, Action.PAUSE_PARTITION), (99, Action.PAUSE_PARTITION)],
)
def test_the_last_action_repeats(failures: int, action: Action) -> None:
    assert next_action(SINGLE_RECORD, FailureClass.TIMED_OUT, failures) is action

from __future__ import annotations

import pytest

from els_stream.consumer.reporting import NullMetrics
from els_stream.consumer.start_offsets import (
    InitialOffset,
    LogState,
    Resume,
    StartOffsetFinder,
    StartPosition,
    TopicRecreated,
    decide,
)
from els_stream.kafka.offsets import Partition, RecordFingerprint, StoredOffset
from tests.support.consumer_fakes import FakeLog, FakeOffsetStore

MARK = RecordFingerprint(1, 2)
ROW = StoredOffset(50, MARK)
TP = Partition("alpha", 0)


@pytest.mark.parametrize(
    ("state", "row", "other_log_at", "expected"),
    [
        pytest.param(LogState(0, 9, None), None, None, InitialOffset(0), id="nobody was here: the beginning"),
        pytest.param(LogState(3, 9, 7), None, None, InitialOffset(7), id="the group was here before the ledger"),
        pytest.param(LogState(0, 90, 50), ROW, None, Resume(ROW, 49, check=True), id="go on, and look at the last one"),
        pytest.param(LogState(0, 90, 90), ROW, None, Resume(ROW, 49, check=True), id="the ledger wins over the group"),
        pytest.param(LogState(0, 50, None), ROW, None, Resume(ROW, 49, check=True), id="nothing new"),
        pytest.param(LogState(0, 49, 50), ROW, None, TopicRecreated(50, 0), id="the log is shorter than it was"),
        pytest.param(LogState(2, 90, 50), ROW, 50, TopicRecreated(50, 2), id="the last one is another"),
        pytest.param(LogState(0, 90, 50), ROW, 40, Resume(ROW, 49, check=True), id="that was known of an older row"),
        pytest.param(LogState(50, 90, 50), ROW, None, Resume(ROW, 50, check=False), id="the last one is gone"),
        pytest.param(LogState(70, 90, 50), ROW, None, Resume(ROW, 50, check=False), id="and more is gone"),
        pytest.param(
            LogState(0, 9, 0), StoredOffset(5, None), None, Resume(StoredOffset(5, None), 5, check=False), id="no mark"
        ),
    ],
)
def test_where_to_go_on(
    state: LogState, row: StoredOffset | None, other_log_at: int | None, expected: StartPosition
) -> None:
    assert decide(state, row, other_log_at) == expected


async def test_a_new_partition_is_adopted_and_then_resumed_from_the_ledger() -> None:
    log, ledger = FakeLog({TP: LogState(0, 9, 4)}), FakeOffsetStore()
    positioner = StartOffsetFinder(log, ledger, NullMetrics())
    assert await positioner.position({TP}) == []
    (part,) = await positioner.position({TP})
    assert (part.expected, part.check, log.seeks) == (4, None, [{TP: 4}])


async def test_a_topic_made_anew_moves_the_ledger_once_and_is_read_from_its_beginning() -> None:
    log, ledger = FakeLog({TP: LogState(0, 90, None)}), FakeOffsetStore({TP: ROW})
    positioner = StartOffsetFinder(log, ledger, NullMetrics())
    positioner.suspect(TP, 50)
    assert await positioner.position({TP}) == []
    assert ledger.rows == {TP: StoredOffset(0, None)}
    (part,) = await positioner.position({TP})
    assert part.expected == 0


async def test_another_owner_that_gets_on_meanwhile_does_not_make_the_topic_look_anew() -> None:
    log, ledger = FakeLog({TP: LogState(0, 50, None)}), FakeOffsetStore({TP: ROW})

    def handled_by_the_other() -> None:
        ledger.rows[TP] = StoredOffset(60, RecordFingerprint(3, 4))

    log.on_states = handled_by_the_other
    await StartOffsetFinder(log, ledger, NullMetrics()).position({TP})
    assert ledger.rows == {TP: StoredOffset(60, RecordFingerprint(3, 4))}

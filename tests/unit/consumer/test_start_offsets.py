from __future__ import annotations

from uuid import UUID

import pytest

from els_stream.consumer.reporting import NullMetrics
from els_stream.consumer.start_offsets import (
    InitialOffset,
    LogState,
    PartitionUnavailable,
    Resume,
    StartOffsetFinder,
    StartPosition,
    TopicRecreated,
    decide_start,
)
from els_stream.kafka.offsets import Partition, RecordFingerprint, StoredOffset
from tests.support.consumer_fakes import FakeLog, FakeOffsetStore

STORED = StoredOffset(50, RecordFingerprint(1, 2))
WITHOUT_FINGERPRINT = StoredOffset(5, None)
TP = Partition("alpha", 0)
OLD_ID, NEW_ID = UUID(int=1), UUID(int=2)
VERIFY = Resume(STORED, verify_last_record=True)
TRUST = Resume(STORED, verify_last_record=False)


@pytest.mark.parametrize(
    ("state", "stored", "log_replaced_at", "expected"),
    [
        pytest.param(LogState(0, 9, None), None, None, InitialOffset(0), id="nothing stored: the beginning"),
        pytest.param(LogState(3, 9, 7), None, None, InitialOffset(7), id="nothing stored: the group's offset"),
        pytest.param(LogState(0, 90, 50), STORED, None, VERIFY, id="resume and verify the last record"),
        pytest.param(LogState(0, 90, 90), STORED, None, VERIFY, id="the stored offset beats the group's"),
        pytest.param(LogState(0, 50, None), STORED, None, VERIFY, id="no new records"),
        pytest.param(LogState(0, 49, 50), STORED, None, TopicRecreated(50, 0), id="the log is shorter than it was"),
        pytest.param(LogState(2, 90, 50), STORED, 50, TopicRecreated(50, 2), id="another last record"),
        pytest.param(LogState(0, 90, 50), STORED, 40, VERIFY, id="another record at an older stored offset"),
        pytest.param(LogState(50, 90, 50), STORED, None, TRUST, id="the last record is gone"),
        pytest.param(LogState(70, 90, 50), STORED, None, TRUST, id="more records are gone"),
        pytest.param(
            LogState(0, 9, 0),
            WITHOUT_FINGERPRINT,
            None,
            Resume(WITHOUT_FINGERPRINT, verify_last_record=False),
            id="no fingerprint",
        ),
    ],
)
def test_the_start_follows_from_log_and_stored_offset(
    state: LogState, stored: StoredOffset | None, log_replaced_at: int | None, expected: StartPosition
) -> None:
    assert decide_start(state, stored, log_replaced_at) == expected


@pytest.mark.parametrize("end", [51, 5000])
async def test_another_topic_id_resets_the_stored_offset_although_the_log_has_outgrown_it(end: int) -> None:
    stored = StoredOffset(50, RecordFingerprint(1, 2), OLD_ID)
    log, store = FakeLog({TP: LogState(2, end, None)}, ids={"alpha": NEW_ID}), FakeOffsetStore({TP: stored})
    finder = StartOffsetFinder(log, store, NullMetrics())

    assert (await finder.find({TP})).found == []
    assert store.rows == {TP: StoredOffset(2, None)}
    assert (await finder.find({TP})).found == []
    (state,) = (await finder.find({TP})).found
    assert (state.next_fetch_offset, state.topic_id) == (2, NEW_ID)


@pytest.mark.parametrize("ids", [{}, {"alpha": OLD_ID}], ids=["a broker without topic ids", "the same topic"])
async def test_a_topic_with_the_known_id_or_none_goes_on(ids: dict[str, UUID]) -> None:
    stored = StoredOffset(50, RecordFingerprint(1, 2), OLD_ID)
    log, store = FakeLog({TP: LogState(0, 90, None)}, ids=ids), FakeOffsetStore({TP: stored})
    finder = StartOffsetFinder(log, store, NullMetrics())

    (state,) = (await finder.find({TP})).found
    assert (state.next_fetch_offset, state.topic_id) == (50, OLD_ID)


async def test_a_stored_offset_of_before_topic_ids_gets_one_and_goes_on() -> None:
    log, store = FakeLog({TP: LogState(0, 90, None)}, ids={"alpha": NEW_ID}), FakeOffsetStore({TP: STORED})
    finder = StartOffsetFinder(log, store, NullMetrics())

    assert (await finder.find({TP})).found == []
    (state,) = (await finder.find({TP})).found
    assert (state.next_fetch_offset, state.topic_id) == (50, NEW_ID)
    assert state.expected_fingerprint == STORED.fingerprint


async def test_a_new_partition_gets_a_stored_offset_and_then_resumes() -> None:
    log, store = FakeLog({TP: LogState(0, 9, 4)}), FakeOffsetStore()
    finder = StartOffsetFinder(log, store, NullMetrics())
    assert (await finder.find({TP})).found == []
    (state,) = (await finder.find({TP})).found
    assert (state.start, state.expected_fingerprint) == (4, None)


async def test_a_recreated_topic_resets_the_stored_offset_once() -> None:
    log, store = FakeLog({TP: LogState(0, 90, None)}), FakeOffsetStore({TP: STORED})
    finder = StartOffsetFinder(log, store, NullMetrics())
    finder.report_replaced_log(TP, 50)
    assert (await finder.find({TP})).found == []
    assert store.rows == {TP: StoredOffset(0, None)}
    (state,) = (await finder.find({TP})).found
    assert state.next_fetch_offset == 0


async def test_progress_of_another_owner_is_no_recreated_topic() -> None:
    log, store = FakeLog({TP: LogState(0, 50, None)}), FakeOffsetStore({TP: STORED})
    advanced = StoredOffset(60, RecordFingerprint(3, 4))

    def advance() -> None:
        store.rows[TP] = advanced

    log.on_log_states = advance
    await StartOffsetFinder(log, store, NullMetrics()).find({TP})
    assert store.rows == {TP: advanced}


async def test_a_partition_whose_leader_is_away_stops_no_other() -> None:
    other = Partition("alpha", 1)
    log = FakeLog({TP: PartitionUnavailable("LeaderNotAvailableError"), other: LogState(0, 9, None)})
    positions = await StartOffsetFinder(log, FakeOffsetStore({other: WITHOUT_FINGERPRINT}), NullMetrics()).find(
        {TP, other}
    )
    assert [state.partition for state in positions.found] == [other]
    assert positions.unavailable == {TP: "LeaderNotAvailableError"}

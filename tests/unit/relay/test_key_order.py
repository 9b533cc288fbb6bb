from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from els_stream.queries.outbox_rows import FailedRow, WaitingRow
from els_stream.relay.key_order import Acked, DeliveryOutcome, DeliveryUnknown, KeyOrder, Rejected, RelayRefused

# None: the row did not fit into the record batch, so it has no outcome.
FAILURES: tuple[DeliveryOutcome | None, ...] = (
    None,
    Rejected("too large"),
    DeliveryUnknown("gone"),
    RelayRefused("clock"),
)


def waiting(order_key: str, position: int, topic: str) -> WaitingRow:
    return WaitingRow(0, order_key, UUID(int=position), topic, order_key.encode(), b"{}", b"[]", 0)


def rows_of(*keys_and_topics: tuple[str, str]) -> list[WaitingRow]:
    return [waiting(key, position, topic) for position, (key, topic) in enumerate(keys_and_topics)]


def test_consecutive_rows_of_one_topic_are_one_run() -> None:
    rows = rows_of(("9b", "assigned"), ("9b", "assigned"), ("9b", "completed"), ("9b", "assigned"))

    assert KeyOrder(rows).next_round() == [rows[:2]]


def test_the_next_run_follows_the_last_ack_of_the_run_before() -> None:
    rows = rows_of(("9b", "assigned"), ("9b", "assigned"), ("9b", "completed"))
    order = KeyOrder(rows)

    order.apply_results([(rows[0], Acked())])
    after_one = order.next_round()
    order.apply_results([(rows[1], Acked())])

    assert after_one == [[rows[1]]]
    assert order.next_round() == [[rows[2]]]


def test_keys_do_not_wait_for_one_another() -> None:
    rows = rows_of(("9b", "assigned"), ("8a", "completed"), ("9b", "completed"))

    assert KeyOrder(rows).next_round() == [[rows[0]], [rows[1]]]


def test_rows_with_different_record_keys_are_different_runs() -> None:
    one, other = rows_of(("9b", "assigned"), ("9b", "assigned"))
    moved = WaitingRow(0, "9b", other.event_id, "assigned", b"elsewhere", b"{}", b"[]", 0)

    assert KeyOrder([one, moved]).next_round() == [[one]]


def test_a_rejected_row_ends_only_its_key() -> None:
    rows = rows_of(("9b", "assigned"), ("8a", "assigned"), ("9b", "completed"), ("8a", "completed"))
    order = KeyOrder(rows)

    order.apply_results([(rows[0], Rejected("too large")), (rows[1], Acked())])

    assert order.next_round() == [[rows[3]]]
    assert (order.acked, order.rejected) == ([rows[1]], [FailedRow(rows[0], "too large")])


def test_an_ack_that_overtakes_a_row_of_its_key_raises() -> None:
    rows = rows_of(("9b", "assigned"), ("9b", "assigned"))

    with pytest.raises(AssertionError, match="overtook"):
        KeyOrder(rows).apply_results([(rows[1], Acked())])


@given(
    keys_and_topics=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["assigned", "completed", "ready"])), max_size=30
    ),
    data=st.data(),
)
def test_rows_are_acked_in_order_and_once_whatever_the_outcomes(
    keys_and_topics: list[tuple[str, str]], data: st.DataObject
) -> None:
    rows = rows_of(*keys_and_topics)
    order = KeyOrder(rows)
    for _ in range(40):
        runs = order.next_round()
        if not runs:
            break
        for run in runs:
            acked = data.draw(st.integers(0, len(run)))
            order.apply_results((row, Acked()) for row in run[:acked])
            if acked < len(run) and (failure := data.draw(st.sampled_from(FAILURES))):
                order.apply_results([(run[acked], failure)])

    for key in "abcd":
        ids = [row.event_id for row in order.acked if row.order_key == key]
        assert ids == [row.event_id for row in rows if row.order_key == key][: len(ids)]

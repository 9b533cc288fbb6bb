"""Event ids: the test vectors of the contract, and different ids for different facts."""

from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from els_stream.events import topics
from els_stream.events.event_ids import NAMESPACE, dead_letter_subject, event_id, slot_subject

BATCH = "0b7f2f3e-6f0e-4c1e-9c39-1a2b3c4d5e6f"


@pytest.mark.parametrize(
    ("topic", "batch_id", "subject", "expected"),
    [
        (topics.PROVISIONING_COMPLETED, BATCH, "", "5488da8a-cccc-5287-baf0-3333b0644e98"),
        (topics.SLOT_ASSIGNED, BATCH, slot_subject("essay-001", "text-001"), "35f040d5-a5bf-5425-9711-ae2d8e2e0f42"),
        (topics.EXCESS_CONTENT, "batch|1", "text%2", "63dc5c17-3ee7-5030-957e-6ed262ade9d3"),
    ],
)
def test_ids_equal_the_vectors_of_the_contract(topic: str, batch_id: str, subject: str, expected: str) -> None:
    assert event_id(topic, batch_id, subject) == UUID(expected)


@given(st.text(alphabet="a|%é/", max_size=5), st.text(alphabet="a|%é/", max_size=5), st.text(alphabet="a|%é/"))
def test_ids_are_uuid5_of_the_escaped_parts(topic: str, batch_id: str, subject: str) -> None:
    name = "|".join(part.replace("%", "%25").replace("|", "%7C") for part in (topic, batch_id, subject))

    assert event_id(topic, batch_id, subject) == uuid5(NAMESPACE, name)


def test_a_separator_inside_a_part_gives_another_id() -> None:
    assert event_id("t", "a|b", "c") != event_id("t", "a", "b|c")


def test_records_of_a_recreated_topic_get_new_dead_letter_ids() -> None:
    assert dead_letter_subject("t", 0, 7, 1000) == "t/0/7/1000"
    assert dead_letter_subject("t", 0, 7, 1000) != dead_letter_subject("t", 0, 7, 2000)

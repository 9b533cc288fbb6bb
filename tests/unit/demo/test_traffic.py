from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

import pytest

from els_stream.demo.check import differences
from els_stream.demo.expectations import Traffic
from els_stream.demo.observations import Observations
from els_stream.demo.random_source import RandomSource
from els_stream.demo.scenarios import SCENARIOS
from els_stream.demo.traffic import Mix, make_traffic
from els_stream.events import topics
from tests.support.reference_service import arrivals, outputs

BATCHES = 32
MIX = Mix(late=0.2, refused=0.01)


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return make_traffic(seed=1, batches=BATCHES)


def test_a_seed_always_makes_the_same_demo(traffic: Traffic) -> None:
    assert make_traffic(seed=1, batches=BATCHES) == traffic


def test_another_seed_makes_another_demo(traffic: Traffic) -> None:
    assert make_traffic(seed=2, batches=BATCHES).messages != traffic.messages


def test_batches_have_from_1_to_120_essays_with_and_without_class(traffic: Traffic) -> None:
    sizes = [expectation.slots for expectation in traffic.expectations]

    assert len(sizes) == BATCHES
    assert (min(sizes), max(sizes)) == (1, 120)
    assert {expectation.regular for expectation in traffic.expectations} == {True, False}


def test_every_tenth_record_is_delivered_three_times(traffic: Traffic) -> None:
    deliveries = Counter(traffic.messages)

    assert set(deliveries.values()) == {1, 3}
    assert sum(count == 3 for count in deliveries.values()) == len(deliveries) // 10


def test_some_contents_precede_their_registration_and_some_have_no_key(traffic: Traffic) -> None:
    first: dict[tuple[bytes | None, str], int] = {}
    for position, message in enumerate(traffic.messages):
        first.setdefault((message.key, message.topic), position)
    early = [
        key
        for (key, topic), position in first.items()
        if topic == topics.CONTENT_PROVISIONED and first.get((key, topics.BATCH_REGISTERED), -1) > position
    ]

    assert early
    assert any(message.key is None for message in traffic.messages)


def test_every_scenario_is_in_the_counts(traffic: Traffic) -> None:
    assert {expectation.scenario for expectation in traffic.expectations} == {scenario.title for scenario in SCENARIOS}


def test_all_output_topics_but_the_timeouts_expect_events(traffic: Traffic) -> None:
    counts = {topic: traffic.events(topic).low for topic in (*topics.OUTPUT_TOPICS, topics.DEAD_LETTER)}

    assert counts.pop(topics.READINESS_TIMEOUT) == 0
    assert min(counts.values()) > 0


@pytest.mark.parametrize("hundred", range(2))
@pytest.mark.parametrize("mix", [Mix(), MIX], ids=["in order", "mixed"])
def test_expectations_hold_for_any_order_of_partitions(hundred: int, mix: Mix) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        traffic = make_traffic(seed, batches=len(SCENARIOS), largest=9, mix=mix)
        observations = Observations()
        for record in outputs(traffic, RandomSource(seed)):
            observations.add(record)

        assert differences(traffic, observations) == [], f"seed {seed}"


def test_a_mix_delays_and_refuses_the_given_ratios_of_records() -> None:
    plain, mixed = (make_traffic(seed=1, batches=64, mix=Mix(refused=0.01, late=late)) for late in (0, 0.2))

    assert sum(poison.deliveries for poison in mixed.poison) / len(mixed.messages) == pytest.approx(0.01, abs=0.002)
    place = {message: number for number, message in enumerate(dict.fromkeys(plain.messages))}
    order = [place[message] for message in dict.fromkeys(mixed.messages)]
    assert 1 - longest_rise(order) / len(order) == pytest.approx(0.2, abs=0.03)


def longest_rise(order: Sequence[int]) -> int:
    """Return the length of the longest increasing subsequence: the records that were not delayed."""
    ends: list[int] = []
    for number in order:
        position = bisect_left(ends, number)
        ends[position : position + 1] = [number]
    return len(ends)


def test_the_orders_tried_are_not_the_order_sent(traffic: Traffic) -> None:
    read = [record.value for record in arrivals(traffic, RandomSource(0))]

    assert Counter(read) == Counter(message.value for message in traffic.messages)
    assert read != [message.value for message in traffic.messages]

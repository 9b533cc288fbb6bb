"""Which differences of a topic do harm, and the remedy that is printed."""

from __future__ import annotations

import pytest

from els_stream.events.topics import CONTENT_PROVISIONED, DEAD_LETTER, SLOT_ASSIGNED
from els_stream.kafka.topic_harms import DAY_MS, Setting, harm_of, remedy_for

WEEK, FORTNIGHT = str(7 * DAY_MS), str(14 * DAY_MS)


@pytest.mark.parametrize(
    ("setting", "harm"),
    [
        (Setting(CONTENT_PROVISIONED, "partitions", "1", "4"), "fewer workers"),
        (Setting(SLOT_ASSIGNED, "max.message.bytes", "1048588", "16777216"), "rejects larger events"),
        (Setting(SLOT_ASSIGNED, "min.insync.replicas", "1", "2"), "may be lost"),
        (Setting(SLOT_ASSIGNED, "cleanup.policy", "compact", "delete"), "deletes all but the last"),
        (Setting(SLOT_ASSIGNED, "cleanup.policy", "compact,delete", "delete"), "deletes all but the last"),
        (Setting(CONTENT_PROVISIONED, "retention.ms", str(DAY_MS), WEEK), "before they were read"),
        (Setting(DEAD_LETTER, "retention.ms", str(15 * DAY_MS), FORTNIGHT), "longer than 14 days"),
        (Setting(DEAD_LETTER, "retention.ms", "-1", FORTNIGHT), "longer than 14 days"),
    ],
)
def test_a_difference_does_harm(setting: Setting, harm: str) -> None:
    assert harm in (harm_of(setting) or "none")


@pytest.mark.parametrize(
    "setting",
    [
        Setting(CONTENT_PROVISIONED, "partitions", "12", "4"),
        Setting(SLOT_ASSIGNED, "max.message.bytes", "33554432", "16777216"),
        Setting(SLOT_ASSIGNED, "min.insync.replicas", "2", "1"),
        Setting(SLOT_ASSIGNED, "cleanup.policy", "", "delete"),
        Setting(CONTENT_PROVISIONED, "retention.ms", "-1", WEEK),
        Setting(CONTENT_PROVISIONED, "retention.ms", FORTNIGHT, WEEK),
        Setting(DEAD_LETTER, "retention.ms", WEEK, FORTNIGHT),
        Setting(DEAD_LETTER, "retention.ms", None, FORTNIGHT),
    ],
)
def test_a_difference_does_no_harm(setting: Setting) -> None:
    assert harm_of(setting) is None


def test_the_remedy_is_a_command_that_sets_the_intended_value() -> None:
    setting = Setting(DEAD_LETTER, "retention.ms", "-1", FORTNIGHT)

    assert remedy_for(setting, "test.dead", "broker:9092") == (
        "kafka-configs.sh --bootstrap-server broker:9092 --alter --entity-type topics --entity-name test.dead "
        f"--add-config retention.ms={FORTNIGHT}"
    )


def test_the_remedy_for_too_few_partitions_is_the_setting_or_a_new_topic() -> None:
    remedy = remedy_for(Setting(CONTENT_PROVISIONED, "partitions", "1", "4"), "test.content", "broker:9092")

    assert "ELS_TOPIC_PARTITIONS=1" in remedy
    assert "els topics" in remedy

"""Which differences of a topic from its intended configuration do harm, and how to mend them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from els_stream.events.topics import DEAD_LETTER
from els_stream.kafka.broker import BrokerAddress

DAY_MS: Final = 24 * 60 * 60 * 1000
# Uploads of guests are purged after this long, so the copies in dead letter events may not stay longer.
GUEST_RETENTION_DAYS: Final = 14


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a topic (logical name) that differs; `actual` and `intended` are as Kafka writes them.

    `actual` is None if the broker does not return it.
    """

    topic: str
    name: str
    actual: str | None
    intended: str


def harm_of(setting: Setting) -> str | None:
    """Return what goes wrong with this difference, or None if nothing does or the value is unknown."""
    match setting:
        case Setting(actual=None):
            return None
        case Setting(name="cleanup.policy", actual=str(policy)):
            return _harm_of_policy(policy)
        case Setting(name="retention.ms", actual=str(actual)):
            return _harm_of_retention(setting.topic, int(actual), int(setting.intended))
        case Setting(name=name, actual=str(actual)) if int(actual) < int(setting.intended):
            return _TOO_LOW.get(name)
        case _:
            return None


def remedy_for(setting: Setting, name: str, broker: BrokerAddress) -> str:
    """Return what to do, as one line; `name` is the topic's name on the broker."""
    if setting.name == "partitions":
        return (
            f"set ELS_TOPIC_PARTITIONS={setting.actual} if that is intended; else stop the workers once every batch is "
            "completed, delete the topic, and run els topics"
        )
    return (
        f"kafka-configs.sh --bootstrap-server {broker} --alter --entity-type topics --entity-name {name} "
        f"--add-config {setting.name}={setting.intended}"
    )


_TOO_LOW: Final = {
    "partitions": "fewer workers can share the topic than intended",
    "max.message.bytes": "the broker rejects larger events, and the events of their batches wait",
    "min.insync.replicas": "an acknowledged event may be lost with one broker",
}


def _harm_of_policy(policy: str) -> str | None:
    if "compact" not in policy:
        return None
    return "the events of a batch have one key, so Kafka deletes all but the last one"


def _harm_of_retention(topic: str, actual: int, intended: int) -> str | None:
    unlimited = actual < 0
    if topic == DEAD_LETTER:
        if unlimited or actual > GUEST_RETENTION_DAYS * DAY_MS:
            return f"copies of guests' uploads stay longer than {GUEST_RETENTION_DAYS} days"
        return None
    if not unlimited and actual < intended:
        return "events may be deleted before they were read"
    return None

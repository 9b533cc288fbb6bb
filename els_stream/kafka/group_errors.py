"""What the broker answers when it does not let a member into its consumer group, in words for people.

aiokafka has no classes for some of these errors, and would report them without their number. They are added to its
table here, for the whole process.
"""

from __future__ import annotations

from typing import Final

from aiokafka.errors import BrokerResponseError, kafka_errors


class GroupMaxSizeReachedError(BrokerResponseError):
    errno = 81
    message = "GROUP_MAX_SIZE_REACHED"


class FencedInstanceIdError(BrokerResponseError):
    errno = 82
    message = "FENCED_INSTANCE_ID"


for _error in (GroupMaxSizeReachedError, FencedInstanceIdError):
    kafka_errors[_error.errno] = _error

SESSION_TIMEOUT: Final = "InvalidSessionTimeoutError"
GROUP_ID: Final = "InvalidGroupIdError"
FENCED: Final = FencedInstanceIdError.__name__

EXPLANATIONS: Final = {
    "InconsistentGroupProtocolError": "another member of the group divides the partitions by another assignor",
    GroupMaxSizeReachedError.__name__: "the group has as many members as the broker's group.max.size allows",
    "GroupAuthorizationFailedError": "the right READ on the group is missing",
    SESSION_TIMEOUT: (
        "ELS_SESSION_TIMEOUT_SECONDS must lie between group.min.session.timeout.ms and group.max.session.timeout.ms"
        " of the broker"
    ),
    GROUP_ID: "the broker does not allow the name in ELS_CONSUMER_GROUP",
    FENCED: "another worker has the same group instance id (ELS_FAUST_CONSUMER_GROUP_INSTANCE_ID)",
}


def group_error_name(error: BaseException) -> str:
    """Return the name of the broker's error; aiokafka has some of them only in the text of its own."""
    text = f"{type(error).__name__} {error}"
    return next((name for name in EXPLANATIONS if name in text), type(error).__name__)


def describe_group_error(error: BaseException) -> str:
    name = group_error_name(error)
    return f"{name}: {EXPLANATIONS.get(name, error)}"


def ends_membership(error: BaseException, *, was_member: bool) -> bool:
    """Return whether another attempt can't help without a change of the settings.

    A worker that was a member goes on trying, except when another one has its place: the broker's limits may be
    changed back. One that was replaced would replace the other in turn.
    """
    name = group_error_name(error)
    return name == FENCED or (name in {SESSION_TIMEOUT, GROUP_ID} and not was_member)

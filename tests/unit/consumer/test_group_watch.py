"""What the watch over the consumer group does about errors of the coordinator and about brokers that do not answer."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    InvalidSessionTimeoutError,
    KafkaConnectionError,
    KafkaError,
)

from els_stream.backoff import Backoff
from els_stream.consumer.group_watch import NO_CONTACT_SECONDS, GroupHealth, GroupWatch
from els_stream.errors import ConfigurationError
from els_stream.kafka.group_errors import FencedInstanceIdError, GroupMaxSizeReachedError
from tests.support.waiting import until

DELAY = 2.0
# As aiokafka wraps an error that it has no case for.
FENCED = KafkaError(repr(FencedInstanceIdError()))
FULL = KafkaError(repr(GroupMaxSizeReachedError()))


@dataclass
class FakeClient:
    error: BaseException | None = None
    member: bool = False
    contact: bool = True
    ended: bool = False
    resumed: int = 0
    replaced: int = 0
    bootstrap: bool = True

    def refusal(self) -> BaseException | None:
        return self.error

    def is_member(self) -> bool:
        return self.member

    def resume(self) -> bool:
        if self.ended:
            return False
        self.resumed += 1
        self.error = None
        return True

    def has_contact(self) -> bool:
        return self.contact

    async def replace(self) -> None:
        if not self.bootstrap:
            raise KafkaConnectionError("made up")
        self.replaced += 1


@dataclass
class Watched:
    client: FakeClient = field(default_factory=FakeClient)
    health: GroupHealth = field(default_factory=GroupHealth)
    ended_with: list[ConfigurationError] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        # A draw of 1 makes each delay its bound, and equal bounds make all delays equal.
        backoff = Backoff(DELAY, DELAY, lambda: 1.0)
        self.watch = GroupWatch(self.client, self.health, backoff, self.ended_with.append, lambda: self.now)

    def refusal(self) -> str | None:
        return self.health.refusal

    async def check(self, after: float = 0.0) -> None:
        """Check, and let a replacement that the check begins end."""
        self.now += after
        self.watch.check()
        await until(lambda: not self.watch.is_replacing, every=0)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.mark.parametrize(
    "error", [InconsistentGroupProtocolError(), GroupAuthorizationFailedError("ours"), FULL], ids=str
)
async def test_an_error_is_taken_after_a_pause_and_shown_until_the_worker_is_a_member(
    watched: Watched, error: KafkaError
) -> None:
    watched.client.error = error
    await watched.check()
    assert watched.client.resumed == 0
    assert "Error: " in str(watched.refusal())

    await watched.check(after=DELAY)
    assert watched.client.resumed == 1
    assert watched.refusal() is not None

    watched.client.member = True
    await watched.check(after=1)
    assert watched.refusal() is None
    assert watched.ended_with == []


async def test_a_session_timeout_that_the_broker_never_accepted_ends_the_worker(watched: Watched) -> None:
    watched.client.error = InvalidSessionTimeoutError()
    for _ in range(3):
        await watched.check(after=DELAY)

    (error,) = watched.ended_with
    assert str(error).startswith("the consumer group does not accept this worker: InvalidSessionTimeoutError: ELS_SESS")
    assert watched.client.resumed == 0


async def test_a_worker_that_was_a_member_tries_again_when_the_brokers_limits_changed(watched: Watched) -> None:
    watched.client.member = True
    await watched.check()
    watched.client.error, watched.client.member = InvalidSessionTimeoutError(), False
    await watched.check()
    await watched.check(after=DELAY)

    assert watched.client.resumed == 1
    assert watched.ended_with == []


async def test_a_static_member_that_was_replaced_ends(watched: Watched) -> None:
    watched.client.member = True
    await watched.check()
    watched.client.error, watched.client.member = FENCED, False
    await watched.check()

    assert "same group instance id" in str(watched.ended_with[0])


async def test_a_client_whose_coordinator_has_ended_is_replaced(watched: Watched) -> None:
    watched.client.error, watched.client.ended = KafkaError("made up"), True
    await watched.check()
    await watched.check(after=DELAY)

    assert watched.client.replaced == 1


async def test_a_client_without_contact_is_replaced_again_and_again_until_a_broker_answers(watched: Watched) -> None:
    watched.client.contact = watched.client.bootstrap = False
    await watched.check()
    await watched.check(after=NO_CONTACT_SECONDS - 1)
    shown = [watched.health.no_contact]

    await watched.check(after=1)
    await watched.check(after=DELAY)
    shown.append(watched.health.no_contact)
    assert shown == [None, "no broker answers for 7 s"]
    assert watched.client.replaced == 0

    watched.client.bootstrap = True
    await watched.check(after=DELAY)
    assert watched.client.replaced == 1

    watched.client.contact = True
    await watched.check(after=1)
    assert watched.health.no_contact is None


async def test_a_short_loss_of_contact_replaces_nothing(watched: Watched) -> None:
    for contact in (False, True) * 10:
        watched.client.contact = contact
        await watched.check(after=NO_CONTACT_SECONDS - 1)

    assert watched.client.replaced == 0

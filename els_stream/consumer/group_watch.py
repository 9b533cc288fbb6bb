"""Watches this worker's membership in its consumer group, and its contact with the brokers.

aiokafka's coordinator stops at an error that the broker may give a member (another assignor in the group, a full group,
missing rights) until a caller takes the error. Nothing in Faust does, so it is taken here: reported, and tried again
after growing pauses. Where another attempt can't help, the worker ends.

aiokafka asks for the brokers' addresses only at the addresses that it knows already. When the brokers came back at
others, or when its coordinator has ended, only a new client helps, which begins at the bootstrap servers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from aiokafka.errors import KafkaError

from els_stream.backoff import Backoff
from els_stream.errors import ConfigurationError
from els_stream.kafka.group_errors import describe_group_error, ends_membership

CHECK_INTERVAL_SECONDS: Final = 1.0
NO_CONTACT_SECONDS: Final = 5.0

log = logging.getLogger(__name__)


@dataclass
class GroupHealth:
    """Why this worker can't be in its group; written in the consumer's thread, read by readiness.

    `member_id` returns the id that the broker gave to this worker; empty or None while it is no member.
    """

    refusal: str | None = None
    no_contact: str | None = None
    member_id: Callable[[], str | None] = lambda: None


class GroupClient(Protocol):
    """The consumer's client, in its thread."""

    def refusal(self) -> BaseException | None:
        """Return the error at which the coordinator stopped, or with which it ended."""

    def is_member(self) -> bool: ...
    def resume(self) -> bool:
        """Take the error, so that the coordinator joins the group again; false if it has ended for good."""
        ...

    def has_contact(self) -> bool:
        """Return whether a broker answered the last request for metadata. To be called at an interval."""
        ...

    async def replace(self) -> None:
        """Put a new client in the place of this one; raises if the bootstrap servers do not answer."""
        ...


class GroupWatch:
    def __init__(
        self,
        client: GroupClient,
        health: GroupHealth,
        backoff: Backoff,
        end_worker: Callable[[ConfigurationError], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._health = health
        self._backoff = backoff
        self._end_worker = end_worker
        self._clock = clock
        self._was_member = False
        self._refusals = 0
        self._resume_at: float | None = None
        self._lost_at: float | None = None
        self._replacements = 0
        self._replace_at = 0.0
        self._replacing: asyncio.Task[None] | None = None

    @property
    def is_replacing(self) -> bool:
        """Whether a replacement of the client is under way."""
        return self._replacing is not None and not self._replacing.done()

    async def run(self) -> None:
        """Check at an interval until cancelled."""
        try:
            while True:
                self._check_and_log()
                await asyncio.sleep(CHECK_INTERVAL_SECONDS)
        finally:
            if self._replacing is not None:
                self._replacing.cancel()
                await asyncio.wait([self._replacing])

    def _check_and_log(self) -> None:
        try:
            self.check()
        except Exception:
            log.exception("the check of the consumer group failed")

    def check(self) -> None:
        self._check_contact()
        if not self.is_replacing:
            self._check_membership()

    def _check_contact(self) -> None:
        now = self._clock()
        if self._client.has_contact():
            if self._health.no_contact is not None:
                log.info("the brokers answer again")
            self._lost_at = self._health.no_contact = None
            self._replacements = 0
            return
        if self._lost_at is None:
            self._lost_at = now
        elif now - self._lost_at >= NO_CONTACT_SECONDS:
            self._health.no_contact = f"no broker answers for {now - self._lost_at:.0f} s"
            self._replace(now)

    def _check_membership(self) -> None:
        error = self._client.refusal()
        if error is None:
            if self._client.is_member():
                self._was_member = True
                self._refusals, self._health.refusal = 0, None
        elif self._resume_at is None:
            self._report(error)
        elif self._clock() >= self._resume_at:
            self._resume_at = None
            if not self._client.resume():
                self._replace(self._clock())

    def _report(self, error: BaseException) -> None:
        cause = describe_group_error(error)
        self._health.refusal = cause
        if ends_membership(error, was_member=self._was_member):
            self._end_worker(ConfigurationError(f"the consumer group does not accept this worker: {cause}"))
            self._resume_at = float("inf")
            return
        self._refusals += 1
        seconds = self._backoff.equal_jitter(self._refusals)
        self._resume_at = self._clock() + seconds
        log.error("the consumer group does not accept this worker, again in %.1f s: %s", seconds, cause)

    def _replace(self, now: float) -> None:
        if now < self._replace_at or self.is_replacing:
            return
        self._replacements += 1
        self._replace_at = now + self._backoff.equal_jitter(self._replacements)
        self._replacing = asyncio.create_task(self._replace_client(), name="replace Kafka's client")

    async def _replace_client(self) -> None:
        try:
            await self._client.replace()
        except (KafkaError, OSError) as error:
            log.warning("Kafka's client can't be replaced yet: %s", error)
        except Exception:
            log.exception("Kafka's client can't be replaced")
            raise

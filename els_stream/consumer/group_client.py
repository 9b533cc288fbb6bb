"""The consumer's thread with a watch over its group: takes the coordinator's errors, and replaces the client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Any, Final, Protocol, cast

from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition as KafkaPartition
from typing_extensions import override

from els_stream.backoff import Backoff
from els_stream.consumer.faust_internals import close_parts, metadata_is_current, metadata_request, stopped
from els_stream.consumer.group_internals import (
    coordination_ended,
    coordination_error,
    coordinator,
    has_static_membership,
    joins_group,
    sends_heartbeats,
)
from els_stream.consumer.group_watch import GroupHealth, GroupWatch
from els_stream.consumer.kafka_client import ElsConsumerThread
from els_stream.consumer.thread_client import KafkaConsumer
from els_stream.errors import ConfigurationError
from els_stream.kafka.lifecycle import START_TIMEOUT_SECONDS

BACKOFF: Final = Backoff(1.0, 30.0)
CLOSE_TIMEOUT_SECONDS: Final = 1.0
STOP_TIMEOUT_SECONDS: Final = 0.5
# aiokafka tries ten times a second.
RECOVERY_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class ReplaceableConsumer(KafkaConsumer, Protocol):
    """The methods of aiokafka's consumer that its replacement uses too."""

    async def start(self) -> None: ...
    def subscription(self) -> AbstractSet[str]: ...
    def subscribe(self, topics: Iterable[str], *, listener: object) -> None: ...


class WatchedConsumer(Protocol):
    """Faust's consumer, as its thread reports to it."""

    group_health: GroupHealth

    def end_worker(self, error: ConfigurationError) -> None: ...


class WatchedConsumerThread(ElsConsumerThread):
    """A consumer's thread that watches its group, and whose client can be replaced; the consumer's health shows it."""

    _watching: asyncio.Task[None] | None = None

    @override
    async def on_start(self) -> None:
        await super().on_start()
        if stopped(self):
            return
        consumer = cast("WatchedConsumer", self.consumer)
        keep_static_member_id(self.kafka)
        consumer.group_health.member_id = lambda: coordinator(self.kafka).member_id
        watch = GroupWatch(_ThreadGroupClient(self), consumer.group_health, BACKOFF, self._end_worker)
        self._watching = asyncio.create_task(watch.run(), name="watch the consumer group")

    @override
    async def on_thread_stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching], timeout=STOP_TIMEOUT_SECONDS)
        await super().on_thread_stop()

    async def replace_client(self) -> None:
        """Start a client at the bootstrap servers; if the old one does not recover meanwhile, let the new one join.

        Brokers that are back at their addresses are found by the old client too, which then needs no rebalance.
        """
        new = cast("ReplaceableConsumer", self._create_consumer(self.thread_loop))
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await new.start()
            if not coordination_ended(self.kafka):
                await asyncio.sleep(RECOVERY_SECONDS)
            if coordination_ended(self.kafka) or not metadata_is_current(self.kafka):
                keep_static_member_id(new)
                await self._put_in_place(new)
        finally:
            if self.kafka is not new:
                await close_parts(new, CLOSE_TIMEOUT_SECONDS)

    async def _put_in_place(self, new: ReplaceableConsumer) -> None:
        """Revoke all partitions as a rebalance does, and subscribe to the topics with the new client."""
        log.warning("Kafka's client is replaced by a new one")
        old = cast("ReplaceableConsumer", self.kafka)
        topics = set(old.subscription())
        await close_parts(old, CLOSE_TIMEOUT_SECONDS)
        await self._rebalance_listener.on_partitions_revoked({KafkaPartition(*tp) for tp in old.assignment()})
        self._consumer = cast("Any", new)
        if topics:
            new.subscribe(topics, listener=self._rebalance_listener)

    def _end_worker(self, error: ConfigurationError) -> None:
        self.parent_loop.call_soon_threadsafe(cast("WatchedConsumer", self.consumer).end_worker, error)


class _ThreadGroupClient:
    """The thread's client, as the watch uses it."""

    def __init__(self, thread: WatchedConsumerThread) -> None:
        self._thread = thread
        self._request: object | None = None

    def refusal(self) -> BaseException | None:
        return coordination_error(self._thread.kafka)

    def is_member(self) -> bool:
        return sends_heartbeats(self._thread.kafka)

    def resume(self) -> bool:
        kafka = self._thread.kafka
        if coordination_ended(kafka):
            return False
        coordinator(kafka).request_rejoin()
        with suppress(KafkaError):
            coordinator(kafka).check_errors()
        return True

    def has_contact(self) -> bool:
        """Return false also while one and the same request has been open since the last call."""
        last, self._request = self._request, metadata_request(self._thread.kafka)
        hangs = last is not None and last is self._request
        return not hangs and metadata_is_current(self._thread.kafka)

    async def replace(self) -> None:
        await self._thread.replace_client()


def keep_static_member_id(consumer: object) -> None:
    """Let a static member that the broker does not know any more join with its old member id first.

    The broker then refuses it (FENCED_INSTANCE_ID) if another process has joined with the same instance id. aiokafka
    forgets the id at once, so two such processes would take each other's place at every heartbeat, for ever. It does so
    for each partition of a commit and for each heartbeat that fails; only the answer to the join itself may do it.
    """
    if not has_static_membership(consumer):
        return
    members = coordinator(consumer)
    forget = members.reset_generation

    def reset_generation() -> None:
        was_member, old = members.generation > 0, members.member_id
        forget()
        if was_member or not joins_group(consumer):
            members.member_id = old

    members.reset_generation = reset_generation

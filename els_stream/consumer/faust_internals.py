"""The internals of Faust 0.15.3 and aiokafka 0.14 that are overridden or used here: two tables that a test verifies.

When a row fails, read the new source before you change the row: the consumer's guarantees depend on these.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Protocol, cast

_subscriptions = attrgetter("_subscription")
_stopped = attrgetter("_stopped")


class TopicPartitionState(Protocol):
    """aiokafka's TopicPartitionState; `position` is defined only while `has_valid_position`."""

    @property
    def has_valid_position(self) -> bool: ...
    @property
    def position(self) -> int: ...
    @property
    def highwater(self) -> int | None: ...


def partition_state(consumer: object, partition: object) -> TopicPartitionState | None:
    """Return aiokafka's state of the partition; None while it is not assigned to this consumer."""
    subscription = _subscriptions(consumer).subscription
    if subscription is None or subscription.assignment is None:
        return None
    return cast("TopicPartitionState | None", subscription.assignment.state_value(partition))


def fetch_context(consumer: object) -> AbstractContextManager[None]:
    """Return a context that counts as polling: while it is open, and then for `max_poll_interval`."""
    return cast("AbstractContextManager[None]", _subscriptions(consumer).fetch_context())


def stopped(service: object) -> bool:
    return bool(_stopped(service).is_set())


@dataclass(frozen=True, slots=True)
class OverriddenInternal:
    """A callable as module:name, and its signature by `inspect` or a line of its source."""

    where: str
    signature: str | None = None
    source: str | None = None


_CONSUMER: Final = "faust.transport.consumer:Consumer."
_FETCHER: Final = "faust.transport.consumer:Fetcher."
_DRIVER: Final = "faust.transport.drivers.aiokafka:"
_THREAD: Final = "faust.transport.drivers.aiokafka:AIOKafkaConsumerThread."
_APP: Final = "faust.app.base:App."
_KAFKA: Final = "aiokafka.consumer.consumer:AIOKafkaConsumer."
_TP: Final = "faust.types.tuples.TP"
_TPS: Final = f"Set[{_TP}]"

OVERRIDDEN: Final = (
    OverriddenInternal(_CONSUMER + "perform_seek", "(self) -> None"),
    OverriddenInternal(_CONSUMER + "stop_flow", "(self) -> None"),
    OverriddenInternal(_CONSUMER + "on_stop", "(self) -> None"),
    OverriddenInternal(_CONSUMER + "on_partitions_revoked", f"(self, revoked: {_TPS}) -> None"),
    OverriddenInternal(
        _CONSUMER + "on_partitions_assigned", f"(self, assigned: {_TPS}, generation_id: int = 0) -> None"
    ),
    OverriddenInternal(_CONSUMER + "verify_event_path", f"(self, now: float, tp: {_TP}) -> None"),
    OverriddenInternal(_CONSUMER + "_drain_messages", "(self, fetcher: mode.types.services.ServiceT) -> None"),
    OverriddenInternal(
        _CONSUMER + "force_commit",
        f"(self, topics: Optional[AbstractSet[Union[str, {_TP}]]] = None, start_new_transaction: bool = True) -> bool",
    ),
    OverriddenInternal(_DRIVER + "Consumer._new_consumer_thread", "(self) -> 'AIOKafkaConsumerThread'"),
    OverriddenInternal(
        _THREAD + "_create_worker_consumer",
        "(self, transport: 'Transport') -> aiokafka.consumer.consumer.AIOKafkaConsumer",
    ),
    OverriddenInternal(_THREAD + "on_start", "(self) -> None"),
    OverriddenInternal(_THREAD + "on_thread_stop", "(self) -> None"),
    OverriddenInternal(_APP + "_new_transport", "(self) -> faust.types.transports.TransportT"),
    OverriddenInternal("faust.web.drivers.aiohttp:Web.start_server", "(self) -> None"),
    OverriddenInternal("mode.worker:Worker._on_sigterm", "(self) -> None"),
    OverriddenInternal("mode.worker:Worker._on_sigint", "(self) -> None"),
    OverriddenInternal("mode.worker:Worker.execute_from_commandline", "(self) -> NoReturn"),
)

USED: Final = (
    # The fetcher service runs the loop that is overridden, and runs one at a time.
    OverriddenInternal(_FETCHER + "_fetcher", source="await consumer._drain_messages(self)"),
    # Commits go through `force_commit`, one at a time; only `perform_seek` seeks.
    OverriddenInternal(_CONSUMER + "commit", source="return await self.force_commit("),
    OverriddenInternal(_CONSUMER + "_commit_handler", source="await self.commit()"),
    # Revoke and stop first stop the flow.
    OverriddenInternal(_APP + "_on_partitions_revoked", source="T(consumer.stop_flow)()"),
    OverriddenInternal(_APP + "_stop_consumer", source="consumer.stop_flow()"),
    OverriddenInternal(_THREAD + "_ensure_consumer", "(self) -> aiokafka.consumer.consumer.AIOKafkaConsumer"),
    OverriddenInternal(_THREAD + "_fetch_records", source="if not self.consumer.flow_active:"),
    OverriddenInternal(_THREAD + "_create_consumer", source="return self._create_worker_consumer(transport)"),
    OverriddenInternal("mode.threads:QueueServiceThread.call_thread", source="result = await promise"),
    OverriddenInternal("mode.threads:MethodQueue.__init__", source="num_workers: int = 2"),
    OverriddenInternal(_KAFKA + "seek", "(self, partition, offset)"),
    OverriddenInternal(_KAFKA + "commit", "(self, offsets=None)"),
    OverriddenInternal(_KAFKA + "committed", "(self, partition)"),
    OverriddenInternal(_KAFKA + "end_offsets", "(self, partitions)"),
    OverriddenInternal(_KAFKA + "beginning_offsets", "(self, partitions)"),
    # A fetch of an empty set of partitions is a fetch of all.
    OverriddenInternal(
        "aiokafka.consumer.fetcher:Fetcher.fetched_records", source="if partitions and tp not in partitions:"
    ),
    OverriddenInternal("aiokafka.consumer.fetcher:FetchResult._update_position", source="state.consumed_to("),
    OverriddenInternal("aiokafka.consumer.subscription_state:SubscriptionState.fetch_context", "(self)"),
    OverriddenInternal(
        "aiokafka.consumer.subscription_state:Assignment.state_value", source="return self._tp_state.get(tp)"
    ),
)

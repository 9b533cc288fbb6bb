"""What of Faust 0.15.3 and aiokafka 0.14 is overridden or used although it is theirs: one table that a test reads.

When a row fails, read the new source before touching the row: what the lane guarantees rests on these.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Protocol, cast

_subscriptions = attrgetter("_subscription")
_stopped = attrgetter("_stopped")


class PartitionState(Protocol):
    """aiokafka's TopicPartitionState; `position` only while `has_valid_position`."""

    @property
    def has_valid_position(self) -> bool: ...
    @property
    def position(self) -> int: ...
    @property
    def highwater(self) -> int | None: ...


def partition_state(consumer: object, partition: object) -> PartitionState | None:
    """None while the consumer is not assigned this partition."""
    subscription = _subscriptions(consumer).subscription
    if subscription is None or subscription.assignment is None:
        return None
    return cast("PartitionState | None", subscription.assignment.state_value(partition))


def fetch_context(consumer: object) -> AbstractContextManager[None]:
    """While it is open, and once it is closed for `max_poll_interval`, the consumer counts as polling."""
    return cast("AbstractContextManager[None]", _subscriptions(consumer).fetch_context())


def stopped(service: object) -> bool:
    return bool(_stopped(service).is_set())


@dataclass(frozen=True, slots=True)
class Internal:
    """A callable by module:name, with what `inspect` says of its signature, or a line that its source holds."""

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
    Internal(_CONSUMER + "perform_seek", "(self) -> None"),
    Internal(_CONSUMER + "stop_flow", "(self) -> None"),
    Internal(_CONSUMER + "on_stop", "(self) -> None"),
    Internal(_CONSUMER + "on_partitions_revoked", f"(self, revoked: {_TPS}) -> None"),
    Internal(_CONSUMER + "on_partitions_assigned", f"(self, assigned: {_TPS}, generation_id: int = 0) -> None"),
    Internal(_CONSUMER + "verify_event_path", f"(self, now: float, tp: {_TP}) -> None"),
    Internal(_CONSUMER + "_drain_messages", "(self, fetcher: mode.types.services.ServiceT) -> None"),
    Internal(
        _CONSUMER + "force_commit",
        f"(self, topics: Optional[AbstractSet[Union[str, {_TP}]]] = None, start_new_transaction: bool = True) -> bool",
    ),
    Internal(_DRIVER + "Consumer._new_consumer_thread", "(self) -> 'AIOKafkaConsumerThread'"),
    Internal(
        _THREAD + "_create_worker_consumer",
        "(self, transport: 'Transport') -> aiokafka.consumer.consumer.AIOKafkaConsumer",
    ),
    Internal(_THREAD + "on_start", "(self) -> None"),
    Internal(_THREAD + "on_thread_stop", "(self) -> None"),
    Internal(_APP + "_new_transport", "(self) -> faust.types.transports.TransportT"),
    Internal("faust.web.drivers.aiohttp:Web.start_server", "(self) -> None"),
    Internal("mode.worker:Worker._on_sigterm", "(self) -> None"),
    Internal("mode.worker:Worker._on_sigint", "(self) -> None"),
    Internal("mode.worker:Worker.execute_from_commandline", "(self) -> NoReturn"),
)

USED: Final = (
    # The fetcher service runs the loop that we override, and only one of them.
    Internal(_FETCHER + "_fetcher", source="await consumer._drain_messages(self)"),
    # Commits go through `force_commit` one at a time; positions are sought only by `perform_seek`.
    Internal(_CONSUMER + "commit", source="return await self.force_commit("),
    Internal(_CONSUMER + "_commit_handler", source="await self.commit()"),
    # The flow stops first of all, on revoke and on stop.
    Internal(_APP + "_on_partitions_revoked", source="T(consumer.stop_flow)()"),
    Internal(_APP + "_stop_consumer", source="consumer.stop_flow()"),
    Internal(_THREAD + "_ensure_consumer", "(self) -> aiokafka.consumer.consumer.AIOKafkaConsumer"),
    Internal(_THREAD + "_fetch_records", source="if not self.consumer.flow_active:"),
    Internal(_THREAD + "_create_consumer", source="return self._create_worker_consumer(transport)"),
    Internal("mode.threads:QueueServiceThread.call_thread", source="result = await promise"),
    Internal("mode.threads:MethodQueue.__init__", source="num_workers: int = 2"),
    Internal(_KAFKA + "seek", "(self, partition, offset)"),
    Internal(_KAFKA + "commit", "(self, offsets=None)"),
    Internal(_KAFKA + "committed", "(self, partition)"),
    Internal(_KAFKA + "end_offsets", "(self, partitions)"),
    Internal(_KAFKA + "beginning_offsets", "(self, partitions)"),
    # An empty set of partitions means all of them.
    Internal("aiokafka.consumer.fetcher:Fetcher.fetched_records", source="if partitions and tp not in partitions:"),
    Internal("aiokafka.consumer.fetcher:FetchResult._update_position", source="state.consumed_to("),
    Internal("aiokafka.consumer.subscription_state:SubscriptionState.fetch_context", "(self)"),
    Internal("aiokafka.consumer.subscription_state:Assignment.state_value", source="return self._tp_state.get(tp)"),
)

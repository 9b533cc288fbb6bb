"""The internals of Faust 0.15.3 and aiokafka 0.14 that are overridden or used here: two tables that a test verifies.

When a row fails, read the new source before you change the row: the consumer's guarantees depend on these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Protocol, cast

from els_stream.kafka.partition_read import KafkaClient

_subscriptions = attrgetter("_subscription")
_client = attrgetter("_client")
_fetcher = attrgetter("_fetcher")
_closed = attrgetter("_closed")
_records = attrgetter("_records")
_create_fetch_waiter = attrgetter("_create_fetch_waiter")
_stopped = attrgetter("_stopped")
_coordinator = attrgetter("_coordinator")
_metadata_task = attrgetter("_client._sync_task")
_metadata_request = attrgetter("_client._md_update_fut")
_last_metadata = attrgetter("_client.cluster._last_successful_refresh_ms")
_last_attempt = attrgetter("_client.cluster._last_refresh_ms")


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


def closed(consumer: object) -> bool:
    return bool(_closed(consumer) or _closed(_fetcher(consumer)))


def network_client(consumer: object) -> KafkaClient:
    return cast("KafkaClient", _client(consumer))


def arrived(consumer: object) -> Mapping[tuple[str, int], object]:
    """Return what has arrived and was not handed out yet, records or an error, by partition."""
    return cast("Mapping[tuple[str, int], object]", _records(_fetcher(consumer)))


async def wait_for_arrival(consumer: object, seconds: float) -> None:
    """Wait until records or an error arrive, at most so long. Raises what the group's coordinator raised."""
    waiter: asyncio.Future[None] = _create_fetch_waiter(_fetcher(consumer))()
    done, _ = await asyncio.wait([waiter], timeout=seconds)
    if done:
        waiter.result()
    else:
        waiter.cancel()


async def drain_partition(consumer: object, partition: object) -> Sequence[Any]:
    """Hand out what has arrived for one partition and move its position; raises its error."""
    drained = await _fetcher(consumer).fetched_records({partition}, timeout=0)
    return cast("Sequence[Any]", drained.get(partition, ()))


def count_as_polling(consumer: object) -> None:
    """Let the client send heartbeats for another `max_poll_interval`.

    After that time it leaves the group, and does not join it again before the next call.
    """
    context: AbstractContextManager[None] = _subscriptions(consumer).fetch_context()
    with context:
        pass


def stopped(service: object) -> bool:
    return bool(_stopped(service).is_set())


def metadata_request(consumer: object) -> object | None:
    """Return the request for metadata that has not ended yet; each has its own object."""
    return cast("object | None", _metadata_request(consumer))


def metadata_is_current(consumer: object) -> bool:
    """Return whether the last request for metadata was answered by a broker; false once the client is closed."""
    task = _metadata_task(consumer)
    return task is not None and not task.done() and bool(_last_attempt(consumer) == _last_metadata(consumer))


async def close_parts(consumer: object, seconds: float) -> None:
    """Close the parts of a consumer one by one, each within `seconds`: `stop` may hang, or raise, at the first of them.

    Each is closed in a task of its own: without a broker aiokafka raises CancelledError here.
    """
    vars(consumer)["_closed"] = True
    for part in (_coordinator(consumer), _fetcher(consumer), _client(consumer)):
        if part is not None:
            closing = asyncio.ensure_future(part.close())
            await asyncio.wait([closing], timeout=seconds)
            closing.cancel()
            await asyncio.gather(closing, return_exceptions=True)


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
_FETCHES: Final = "aiokafka.consumer.fetcher:Fetcher."
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
    OverriddenInternal(_APP + "_create_directories", source="self.conf.tabledir.mkdir(exist_ok=True)"),
    OverriddenInternal(_APP + "_new_transport", "(self) -> faust.types.transports.TransportT"),
    OverriddenInternal("faust.tables.manager:TableManager.on_start", "(self) -> None"),
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
    # Our fetch does the same checks, and then drains the partitions one by one.
    OverriddenInternal(_THREAD + "_fetch_records", source="if not self.consumer.flow_active:"),
    OverriddenInternal(_THREAD + "_fetch_records", source="if consumer._closed or fetcher._closed:"),
    OverriddenInternal(_THREAD + "_create_consumer", source="return self._create_worker_consumer(transport)"),
    OverriddenInternal("mode.threads:QueueServiceThread.call_thread", source="result = await promise"),
    OverriddenInternal("mode.threads:MethodQueue.__init__", source="num_workers: int = 2"),
    OverriddenInternal(_KAFKA + "seek", "(self, partition, offset)"),
    OverriddenInternal(_KAFKA + "commit", "(self, offsets=None)"),
    OverriddenInternal(_KAFKA + "committed", "(self, partition)"),
    OverriddenInternal(_KAFKA + "end_offsets", "(self, partitions)"),
    OverriddenInternal(_KAFKA + "beginning_offsets", "(self, partitions)"),
    # What has arrived waits by partition; an error waits there too and is raised once. With no timeout and a set of one
    # partition nothing of another is touched. A fetch of an empty set of partitions would be a fetch of all.
    OverriddenInternal(_FETCHES + "__init__", source="self._records = collections.OrderedDict()"),
    OverriddenInternal(_FETCHES + "fetched_records", source="if drained or not timeout: return drained"),
    OverriddenInternal(_FETCHES + "_set_error", source="self._records[tp] = FetchError("),
    OverriddenInternal(_FETCHES + "_create_fetch_waiter", source="self._fetch_waiters.add(fut)"),
    OverriddenInternal(_FETCHES + "close", source="self._notify(waiter)"),
    OverriddenInternal(_FETCHES + "seek_to", source="if tp in self._records: del self._records[tp]"),
    # Records are handed out only from the present position on, so a seek can't be followed by older ones.
    OverriddenInternal(
        "aiokafka.consumer.fetcher:FetchResult.check_assignment",
        source="if position != self._partition_records.next_fetch_offset: return_result = False",
    ),
    # With `auto_offset_reset="none"` a position outside of the log is an error of its partition.
    OverriddenInternal(
        _FETCHES + "_proc_fetch_request", source="err = Errors.OffsetOutOfRangeError({tp: fetch_offset})"
    ),
    # The parts that our own read of one partition uses, and the layout of the response.
    OverriddenInternal(_FETCHES + "_proc_fetch_request", source="if response.API_VERSION >= 11: # part_data layout:"),
    OverriddenInternal(_FETCHES + "_proc_fetch_request", source="aborted_transactions = part_data[2]"),
    OverriddenInternal(_FETCHES + "_proc_fetch_request", source="aborted_transactions = part_data[-2]"),
    OverriddenInternal(
        "aiokafka.consumer.fetcher:PartitionRecords._unpack_records", source="while records.has_next():"
    ),
    OverriddenInternal(
        "aiokafka.record.default_records:_DefaultRecordBatchPy.__next__", source="msg = self._read_msg()"
    ),
    OverriddenInternal("aiokafka.cluster:ClusterMetadata.brokers", "(self)"),
    OverriddenInternal("els_stream.kafka.clients:_bootstrap", source="bootstrap_conn = await create_conn( host,"),
    OverriddenInternal("aiokafka.client:AIOKafkaClient._get_conn", source="on_close=self._on_connection_closed"),
    OverriddenInternal("aiokafka.client:AIOKafkaClient.send", source="async def send(self, node_id, request, *,"),
    OverriddenInternal(
        "aiokafka.cluster:ClusterMetadata.leader_for_partition", source="-1 unavailable, None if unknown."
    ),
    OverriddenInternal(_FETCHES + "fetched_records", source="if partitions and tp not in partitions:"),
    OverriddenInternal("aiokafka.consumer.fetcher:FetchResult._update_position", source="state.consumed_to("),
    OverriddenInternal("aiokafka.consumer.subscription_state:SubscriptionState.fetch_context", "(self)"),
    # Known brokers are asked for metadata, never the bootstrap servers; both times differ after a failure.
    OverriddenInternal(
        "aiokafka.client:AIOKafkaClient._metadata_update", source="cluster_metadata.failed_update(None)"
    ),
    OverriddenInternal(
        "aiokafka.cluster:ClusterMetadata.update_metadata",
        source="self._last_refresh_ms = now self._last_successful_refresh_ms = now",
    ),
    OverriddenInternal(_THREAD + "subscribe", source="listener=self._rebalance_listener"),
    OverriddenInternal(_KAFKA + "subscribe", "(self, topics=(), pattern=None, listener=None)"),
    OverriddenInternal(
        "aiokafka.consumer.subscription_state:Assignment.state_value", source="return self._tp_state.get(tp)"
    ),
)

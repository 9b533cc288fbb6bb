"""Sends one wave: at most one batch per partition is in flight, and its rows share one outcome.

So when a row is acked, every earlier row of its key is in the broker too. A batch that the broker refuses for what is
in it is sent again in halves until the row at fault stands alone; rows that were refused before travel apart from the
others, who need not pay for them again.
"""

from __future__ import annotations

import asyncio
import enum
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from aiokafka import errors

from els_stream.errors import ServersUnavailable
from els_stream.queries.outbox import WaitingRow
from els_stream.relay.key_order import Acked, DeliveryOutcome, DeliveryUnknown, Rejected
from els_stream.relay.producer import Destination, Producer, append

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from els_stream.relay.options import RelayOptions
    from els_stream.relay.producer import ProducerBatch

SendResult: TypeAlias = tuple[WaitingRow, DeliveryOutcome]
SendFailure: TypeAlias = errors.KafkaError | TimeoutError

TOPIC_FAULTS: Final = (
    errors.UnknownTopicOrPartitionError,
    errors.InvalidTopicError,
    errors.TopicAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
)
# Answers of the broker that are about the records themselves; whatever is not listed is trouble between us and it.
ROW_FAULTS: Final = (
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.InvalidTimestampError,
    errors.InvalidMessageError,
    errors.PolicyViolationError,
    errors.UnknownError,  # also what aiokafka makes of codes that it is too old to know, such as INVALID_RECORD
)


class Fault(enum.Enum):
    ROW = enum.auto()
    TOPIC = enum.auto()
    UNKNOWN = enum.auto()


@dataclass(slots=True)
class RecordBatch:
    """Rows of one batch, each key's in order; `full` once a row did not fit."""

    to: Destination
    batch: ProducerBatch
    rows: list[WaitingRow] = field(default_factory=list)
    full: bool = False

    def load(self, run: Iterable[WaitingRow]) -> list[SendResult]:
        """As many of the run as fit; a row that nobody could write is refused, and what follows it stays."""
        for row in run:
            try:
                self.full = self.full or not append(self.batch, row)
            except ValueError as error:
                return [(row, Rejected(f"{type(error).__name__}: it can't be written as a record"))]
            if self.full:
                break
            self.rows.append(row)
        return []


class Sender:
    """Not for two waves at once. Leaving the context gives up what is in flight."""

    def __init__(self, broker: str, topic_prefix: str, options: RelayOptions) -> None:
        self._broker = broker
        self._prefix = topic_prefix
        self._options = options
        self._producer: Producer | None = None
        self._failed = False
        self._unknown: dict[str, tuple[float, SendFailure]] = {}

    async def __aenter__(self) -> Self:
        await self._ready()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer is not None:
            await self._producer.abandon()

    async def send(self, runs: Sequence[Sequence[WaitingRow]]) -> list[SendResult]:
        """What became of the rows that were sent, each key's in order; rows that did not fit are not named.

        Raises ServersUnavailable when no producer can be opened and nothing was sent.
        """
        settled: list[SendResult] = []
        for refused_before in (False, True):
            group = [run for run in runs if bool(run[0].attempts) is refused_before]
            # After a failure the others wait for the next wave: the acks so far must not be lost to another error.
            if group and not (settled and self._failed):
                settled += await self._send(group)
        return settled

    async def _send(self, runs: Sequence[Sequence[WaitingRow]]) -> list[SendResult]:
        producer = await self._ready()
        topics = {self._prefix + run[0].topic for run in runs}
        known = dict(zip(topics, await asyncio.gather(*map(self._partitions, topics)), strict=True))
        parcels: dict[Destination, RecordBatch] = {}
        unsendable: list[SendResult] = []
        for run in runs:
            topic = self._prefix + run[0].topic
            match known[topic]:
                case int(partitions):
                    to = Destination(topic, producer.partition(run[0], partitions))
                    parcel = parcels.get(to) or parcels.setdefault(to, RecordBatch(to, producer.batch()))
                    unsendable += parcel.load(run)
                case error:
                    unsendable.append((run[0], Rejected(_told(topic, error))))
        return await self._post(producer, parcels.values()) + unsendable

    async def _post(self, producer: Producer, parcels: Iterable[RecordBatch]) -> list[SendResult]:
        posted = [parcel for parcel in parcels if parcel.rows]
        failures = await asyncio.gather(*(self._deliver(producer, parcel) for parcel in posted))
        settled: list[SendResult] = []
        doubted: list[tuple[RecordBatch, SendFailure]] = []
        for parcel, failure in zip(posted, failures, strict=True):
            if failure is None:
                settled += [(row, Acked()) for row in parcel.rows]
            else:
                doubted.append((parcel, failure))
        # One after another, since each failure among them takes its producer away.
        for parcel, failure in doubted:
            settled += await self._blame(parcel, failure)
        return settled

    async def _deliver(self, producer: Producer, parcel: RecordBatch) -> SendFailure | None:
        if len(parcel.rows) == 1 and parcel.batch.size() > self._options.request_bytes:
            return errors.MessageSizeTooLargeError(f"{parcel.batch.size()} bytes, more than a request may have")
        failure = await producer.deliver(parcel.batch, parcel.to)
        self._failed = self._failed or failure is not None
        return failure

    async def _blame(self, parcel: RecordBatch, failure: SendFailure) -> list[SendResult]:
        told = _told(parcel.to.topic, failure)
        match _fault(failure):
            case Fault.UNKNOWN:
                return [(row, DeliveryUnknown(told)) for row in _first_of_each_key(parcel.rows)]
            case Fault.TOPIC:
                return [(row, Rejected(told)) for row in _first_of_each_key(parcel.rows)]
            case Fault.ROW if len(parcel.rows) == 1:
                return [(parcel.rows[0], Rejected(told))]
            case Fault.ROW:
                return await self._halve(parcel)

    async def _halve(self, parcel: RecordBatch) -> list[SendResult]:
        middle = len(parcel.rows) // 2
        settled: list[SendResult] = []
        for half in (parcel.rows[:middle], parcel.rows[middle:]):
            # What comes after a row that stays must stay too.
            ended = {row.order_key for row, outcome in settled if not isinstance(outcome, Acked)}
            rows = [row for row in half if row.order_key not in ended]
            try:
                producer = await self._ready()
            except ServersUnavailable as error:
                return settled + [(row, DeliveryUnknown(str(error))) for row in _first_of_each_key(rows)]
            smaller = RecordBatch(parcel.to, producer.batch())
            unsendable = smaller.load(rows)
            settled += await self._post(producer, [smaller]) + unsendable
        return settled

    async def _partitions(self, topic: str) -> int | SendFailure:
        """A topic that is missing is asked for once in a while, not once in a wave: asking takes time."""
        until, failure = self._unknown.get(topic, (0.0, None))
        if failure is not None and time.monotonic() < until:
            return failure
        producer = await self._ready()
        found = await producer.partitions(topic)
        if isinstance(found, int):
            self._unknown.pop(topic, None)
        else:
            self._unknown[topic] = (time.monotonic() + 2 * self._options.topic_seconds, found)
        return found

    async def _ready(self) -> Producer:
        """The producer, or another after a failure. Only while nothing is in flight."""
        if self._producer is not None and not self._failed:
            return self._producer
        old, self._producer = self._producer, None
        if old is not None:
            await old.abandon()
        fresh = Producer(self._broker, self._options)
        await fresh.open()
        self._producer, self._failed = fresh, False
        return fresh


def _fault(failure: SendFailure) -> Fault:
    if isinstance(failure, ROW_FAULTS):
        return Fault.ROW
    if isinstance(failure, TOPIC_FAULTS):
        return Fault.TOPIC
    return Fault.UNKNOWN


def _first_of_each_key(rows: Iterable[WaitingRow]) -> Iterator[WaitingRow]:
    seen: set[str] = set()
    for row in rows:
        if row.order_key not in seen:
            seen.add(row.order_key)
            yield row


def _told(topic: str, failure: SendFailure) -> str:
    """Errors of brokers and clients name sizes and topics, never a record's content."""
    return f"{topic}: {type(failure).__name__}: {failure}"

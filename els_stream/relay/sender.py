"""Sends one round: at most one record batch per partition is in flight, and its rows share one outcome.

So when a row is acked, every earlier row of its key is in the broker too. A batch that the broker rejects for its
records is split in halves and sent again until the invalid row is alone. Rows that were rejected before are sent in
batches of their own, so that they do not fail the others again.
"""

from __future__ import annotations

import asyncio
import enum
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from aiokafka import errors

from els_stream.errors import ServersUnavailable
from els_stream.queries.outbox_rows import WaitingRow
from els_stream.relay.key_order import Acked, DeliveryOutcome, DeliveryUnknown, Rejected, RelayRefused
from els_stream.relay.producer import Destination, Producer, append

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from els_stream.kafka.broker import BrokerAddress
    from els_stream.relay.options import RelayOptions
    from els_stream.relay.producer import ProducerBatch

SendResult: TypeAlias = tuple[WaitingRow, DeliveryOutcome]
SendFailure: TypeAlias = errors.KafkaError | TimeoutError

TOPIC_FAULTS: Final = (
    errors.UnknownTopicOrPartitionError,
    errors.InvalidTopicError,
    errors.TopicAuthorizationFailedError,
)
# Errors that concern this process and no row: its clock, which stamps the records, and its rights.
RELAY_FAULTS: Final = (errors.InvalidTimestampError, errors.ClusterAuthorizationFailedError)
# Errors that name a row as soon as it is alone.
SIZE_FAULTS: Final = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError)
# Errors of the broker that concern the records themselves; any other error is a failure of the broker or the network.
ROW_FAULTS: Final = (
    *SIZE_FAULTS,
    errors.InvalidMessageError,
    errors.PolicyViolationError,
    errors.UnknownError,  # aiokafka also raises it for codes that it does not know, such as INVALID_RECORD
)


class Fault(enum.Enum):
    """What a failed batch says about its rows."""

    ROW = enum.auto()
    TOPIC = enum.auto()
    RELAY = enum.auto()
    UNKNOWN = enum.auto()


@dataclass(slots=True)
class RecordBatch:
    """The rows of one record batch, each key's in order; `full` is set once a row did not fit."""

    to: Destination
    records: ProducerBatch
    rows: list[WaitingRow] = field(default_factory=list)
    full: bool = False

    def append(self, run: Iterable[WaitingRow]) -> list[SendResult]:
        """Append as many rows of the run as fit; return a rejection of the first row that cannot be encoded.

        The rows after that one are not appended.
        """
        for row in run:
            try:
                self.full = self.full or not append(self.records, row)
            except ValueError as error:
                return [(row, Rejected(f"{type(error).__name__}: it cannot be encoded as a record"))]
            if self.full:
                break
            self.rows.append(row)
        return []


@dataclass(slots=True)
class TopicEvidence:
    """What the attempts at the rows of one failed batch have shown: whether their topic accepts any row."""

    accepts: bool
    refused_keys: set[str] = field(default_factory=set)

    @property
    def refuses_all(self) -> bool:
        """Whether rows of two keys were refused alone and none was accepted: then it is not the rows."""
        return not self.accepts and len(self.refused_keys) > 1


class Sender:
    """Sends one round at a time with a producer of its own; at exit it abandons what is in flight."""

    def __init__(self, broker: BrokerAddress, topic_prefix: str, options: RelayOptions) -> None:
        self._broker = broker
        self._prefix = topic_prefix
        self._options = options
        self._producer: Producer | None = None
        self._failed = False
        self._unknown: dict[str, tuple[float, SendFailure]] = {}

    async def __aenter__(self) -> Self:
        await self._open_producer()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._producer is not None:
            await self._producer.abandon()

    async def send(self, runs: Sequence[Sequence[WaitingRow]]) -> list[SendResult]:
        """Return the outcome of each row that was sent, each key's in order; rows that did not fit have none.

        Raise ServersUnavailable if no producer can be opened and nothing was sent.
        """
        results: list[SendResult] = []
        for rejected_before in (False, True):
            group = [run for run in runs if bool(run[0].attempts) is rejected_before]
            # After a failure the others wait for the next round: another error must not lose the acks so far.
            if group and not (results and self._failed):
                results += await self._send(group)
        return results

    async def _send(self, runs: Sequence[Sequence[WaitingRow]]) -> list[SendResult]:
        producer = await self._open_producer()
        topics = {self._prefix + run[0].topic for run in runs}
        known = dict(zip(topics, await asyncio.gather(*map(self._partitions, topics)), strict=True))
        batches: dict[Destination, RecordBatch] = {}
        undelivered: list[SendResult] = []
        for run in runs:
            topic = self._prefix + run[0].topic
            match known[topic]:
                case int(partitions):
                    to = Destination(topic, producer.partition(run[0], partitions))
                    batch = batches.get(to) or batches.setdefault(to, RecordBatch(to, producer.batch()))
                    undelivered += batch.append(run)
                case TimeoutError() as error:
                    self._failed = True
                    undelivered.append((run[0], DeliveryUnknown(_message(topic, error))))
                case error:
                    undelivered.append((run[0], Rejected(_message(topic, error))))
        return await self._send_batches(producer, batches.values()) + undelivered

    async def _send_batches(
        self, producer: Producer, batches: Iterable[RecordBatch], evidence: TopicEvidence | None = None
    ) -> list[SendResult]:
        """`evidence` is that of the batch whose rows these are, if it failed."""
        sent = [batch for batch in batches if batch.rows]
        failures = await asyncio.gather(*(self._deliver(producer, batch) for batch in sent))
        results: list[SendResult] = []
        accepting: set[str] = set()
        failed: list[tuple[RecordBatch, SendFailure]] = []
        for batch, failure in zip(sent, failures, strict=True):
            if failure is None:
                results += [(row, Acked()) for row in batch.rows]
                accepting.add(batch.to.topic)
            else:
                failed.append((batch, failure))
        if evidence is not None:
            evidence.accepts = evidence.accepts or bool(accepting)
        # One after another, since each further failure makes the producer unusable.
        for batch, failure in failed:
            known = evidence or TopicEvidence(batch.to.topic in accepting)
            results += await self._handle_failure(batch, failure, known)
        return results

    async def _deliver(self, producer: Producer, batch: RecordBatch) -> SendFailure | None:
        if len(batch.rows) == 1 and batch.records.size() > self._options.request_bytes:
            return errors.MessageSizeTooLargeError(f"{batch.records.size()} bytes, more than a request may contain")
        failure = await producer.deliver(batch.records, batch.to)
        self._failed = self._failed or failure is not None
        return failure

    async def _handle_failure(
        self, batch: RecordBatch, failure: SendFailure, evidence: TopicEvidence
    ) -> list[SendResult]:
        message = _message(batch.to.topic, failure)
        match _fault(failure):
            case Fault.UNKNOWN:
                return [(row, DeliveryUnknown(message)) for row in _first_of_each_key(batch.rows)]
            case Fault.TOPIC:
                return [(row, Rejected(message)) for row in _first_of_each_key(batch.rows)]
            case Fault.RELAY:
                return [(row, RelayRefused(message)) for row in _first_of_each_key(batch.rows)]
            case Fault.ROW if len(batch.rows) == 1:
                if not isinstance(failure, SIZE_FAULTS):
                    evidence.refused_keys.add(batch.rows[0].order_key)
                return [(batch.rows[0], Rejected(message))]
            case Fault.ROW:
                return await self._split(batch, message, evidence)

    async def _split(self, batch: RecordBatch, message: str, evidence: TopicEvidence) -> list[SendResult]:
        """Send the halves one after the other, unless it becomes evident that the topic refuses every row."""
        middle = len(batch.rows) // 2
        results: list[SendResult] = []
        for half in (batch.rows[:middle], batch.rows[middle:]):
            # The rows of a key after one that was not acked must wait as well.
            ended = {row.order_key for row, outcome in results if not isinstance(outcome, Acked)}
            rows = [row for row in half if row.order_key not in ended]
            if evidence.refuses_all:
                results += [(row, Rejected(message)) for row in _first_of_each_key(rows)]
                continue
            try:
                producer = await self._open_producer()
            except ServersUnavailable as error:
                return results + [(row, DeliveryUnknown(str(error))) for row in _first_of_each_key(rows)]
            smaller = RecordBatch(batch.to, producer.batch())
            rejected = smaller.append(rows)
            results += await self._send_batches(producer, [smaller], evidence) + rejected
        return results

    async def _partitions(self, topic: str) -> int | SendFailure:
        """Return the number of partitions, or the error; that of a topic is remembered, since asking takes time."""
        until, failure = self._unknown.get(topic, (0.0, None))
        if failure is not None and time.monotonic() < until:
            return failure
        producer = await self._open_producer()
        found = await producer.partitions(topic)
        if isinstance(found, int):
            self._unknown.pop(topic, None)
        elif not isinstance(found, TimeoutError):
            self._unknown[topic] = (time.monotonic() + 2 * self._options.topic_timeout_seconds, found)
        return found

    async def _open_producer(self) -> Producer:
        """Return the producer, or open a new one after a failure; call it only while nothing is in flight."""
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
    if isinstance(failure, RELAY_FAULTS):
        return Fault.RELAY
    return Fault.UNKNOWN


def _first_of_each_key(rows: Iterable[WaitingRow]) -> Iterator[WaitingRow]:
    seen: set[str] = set()
    for row in rows:
        if row.order_key not in seen:
            seen.add(row.order_key)
            yield row


def _message(topic: str, failure: SendFailure) -> str:
    """Return the error as text: errors of brokers and clients have sizes and topics in them, no record content."""
    return f"{topic}: {type(failure).__name__}: {failure}"

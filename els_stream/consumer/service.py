"""The intake as the application holds it: made once, attached to Faust's consumer, run by the agents."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.backoff import Backoff
from els_stream.consumer.batch_loop import BatchLoop, MicroBatchLimits
from els_stream.consumer.batch_outcome import ConsumerContext
from els_stream.consumer.caught_up import keep_noting
from els_stream.consumer.end_offsets import keep_asking
from els_stream.consumer.fetcher import Fetcher
from els_stream.consumer.handler import LogFields, WriteDeadLetters, nothing
from els_stream.consumer.kafka_client import KAFKA_ERRORS, KafkaLog
from els_stream.consumer.offset_store import OffsetStore
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.reporting import ConsumerMetrics
from els_stream.consumer.retries import Retries
from els_stream.consumer.status import ConsumerStatus
from els_stream.consumer.transaction import BeginTransaction, Transactions
from els_stream.db.errors import DATABASE_ERRORS
from els_stream.handlers.handler import Decoded, Handler, HasLabel, Locked

AWAY: tuple[type[Exception], ...] = (*KAFKA_ERRORS, *DATABASE_ERRORS)


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    consumer_group: str
    topic_prefix: str
    lane: BufferLimits
    micro_batch: MicroBatchLimits
    backoff: Backoff


class ConsumerService:
    def __init__(
        self,
        engine: AsyncEngine,
        begin: BeginTransaction,
        options: ConsumerOptions,
        bury: WriteDeadLetters,
        reports: ConsumerMetrics,
        remark: LogFields = nothing,
    ) -> None:
        """Micro-batches are transactions of `begin`; all else uses `engine`."""
        self._begin = begin
        self._options = options
        self._bury = bury
        self.reports = reports
        self.lane = PartitionBuffers(options.lane)
        self.ledger = OffsetStore(engine, options.consumer_group)
        retries = Retries()
        self.state = ConsumerStatus(self.lane, retries, self._logical)
        self._around = ConsumerContext(self.lane, self.ledger, options.backoff, reports, retries, remark)
        self._kafka: KafkaLog | None = None
        self._feeder: Fetcher | None = None

    def attach(self, kafka: KafkaLog) -> None:
        """Faust's consumer does this when it is made."""
        self._kafka = kafka
        self._feeder = Fetcher(self.lane, kafka, self.ledger, self.reports, AWAY, self._logical)
        self.state.attach(self._feeder.trouble, kafka)

    async def step(self) -> None:
        """One round of the feeder; Faust's fetcher calls it in a loop."""
        if self._feeder is None:
            raise RuntimeError("the intake is not attached to a consumer")
        await self._feeder.step()

    async def run(self, handler: Handler[Decoded, Locked, HasLabel]) -> None:
        """An agent's whole work: everything that arrives on the handler's topic, each record once."""
        transactions = Transactions(self._begin, self._options.consumer_group, handler, self._bury)
        topic = self._options.topic_prefix + handler.topic
        await BatchLoop(handler.name, topic, transactions, self._around, self._options.micro_batch).run()

    async def keep_asking_for_ends(self) -> None:
        """Until cancelled."""
        if self._kafka is None:
            raise RuntimeError("the intake is not attached to a consumer")
        await keep_asking(self.lane, self._kafka, AWAY)

    async def keep_noting_what_is_caught_up(self) -> None:
        """Until cancelled."""
        if self._kafka is None:
            raise RuntimeError("the intake is not attached to a consumer")
        await keep_noting(self.lane, self._kafka, self.ledger, AWAY)

    def _logical(self, topic: str) -> str:
        return topic.removeprefix(self._options.topic_prefix)

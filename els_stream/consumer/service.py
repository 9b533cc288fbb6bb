"""The consumer as the application uses it: made once, attached to Faust's consumer, run by the agents."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.backoff import Backoff
from els_stream.config.settings import Settings
from els_stream.consumer.batch_loop import BatchLoop, MicroBatchLimits
from els_stream.consumer.batch_outcome import ConsumerContext, LogFields, RetryingAgents, no_log_fields
from els_stream.consumer.end_offsets import EndOffsets
from els_stream.consumer.fetcher import Fetcher, FetchOptions
from els_stream.consumer.group_watch import GroupHealth
from els_stream.consumer.kafka_client import KAFKA_ERRORS, KafkaLog
from els_stream.consumer.offset_store import OffsetStore
from els_stream.consumer.partition_buffers import BufferLimits, PartitionBuffers
from els_stream.consumer.reporting import ConsumerMetrics
from els_stream.consumer.status import ConsumerStatus
from els_stream.consumer.transaction import BeginTransaction, Transactions, WriteDeadLetters
from els_stream.db.errors import DATABASE_ERRORS
from els_stream.handlers.handler import Decoded, Handler, HasLabel, Locked

SERVER_ERRORS: tuple[type[Exception], ...] = (*KAFKA_ERRORS, *DATABASE_ERRORS)


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    consumer_group: str
    topic_prefix: str
    buffers: BufferLimits
    micro_batch: MicroBatchLimits
    backoff: Backoff

    @classmethod
    def from_settings(cls, settings: Settings) -> ConsumerOptions:
        return cls(
            consumer_group=settings.consumer_group,
            topic_prefix=settings.topic_prefix,
            buffers=BufferLimits.from_settings(settings),
            micro_batch=MicroBatchLimits.from_settings(settings),
            backoff=Backoff(settings.retry_initial_seconds, settings.retry_max_seconds),
        )


class ConsumerService:
    def __init__(
        self,
        engine: AsyncEngine,
        begin: BeginTransaction,
        options: ConsumerOptions,
        write_dead_letters: WriteDeadLetters,
        metrics: ConsumerMetrics,
        log_fields: LogFields = no_log_fields,
    ) -> None:
        """`begin` begins the transaction of a micro-batch; everything else uses `engine`."""
        self._begin = begin
        self._options = options
        self._write_dead_letters = write_dead_letters
        self.metrics = metrics
        self.buffers = PartitionBuffers(options.buffers)
        self.store = OffsetStore(engine, options.consumer_group)
        self.group_health = GroupHealth()
        retrying = RetryingAgents()
        self.status = ConsumerStatus(self.buffers, retrying, self._logical_topic, self.group_health)
        self._context = ConsumerContext(self.buffers, self.store, options.backoff, metrics, retrying, log_fields)
        self._kafka: KafkaLog | None = None
        self._fetcher: Fetcher | None = None

    def attach(self, kafka: KafkaLog) -> None:
        """Connect to Faust's consumer, which calls this when it is made."""
        self._kafka = kafka
        options = FetchOptions(self._options.backoff, SERVER_ERRORS, self._logical_topic)
        self._fetcher = Fetcher(self.buffers, kafka, self.store, self.metrics, options)
        self.status.attach(self._fetcher.health, kafka)

    async def step(self) -> None:
        """Do one round of the fetcher; Faust's fetcher service calls this in a loop."""
        if self._fetcher is None:
            raise RuntimeError("the consumer is not attached to Faust's consumer")
        await self._fetcher.step()

    async def run(self, handler: Handler[Decoded, Locked, HasLabel]) -> None:
        """Process every record of the handler's topic once, until the worker stops: the whole work of an agent."""
        transactions = Transactions(self._begin, self._options.consumer_group, handler, self._write_dead_letters)
        topic = self._options.topic_prefix + handler.topic
        await BatchLoop(handler.name, topic, transactions, self._context, self._options.micro_batch).run()

    async def refresh_end_offsets(self) -> None:
        """Keep the lag and the input watermark up to date, until cancelled."""
        if self._kafka is None:
            raise RuntimeError("the consumer is not attached to Faust's consumer")
        await EndOffsets(self.buffers, self._kafka, self.store).run(SERVER_ERRORS)

    def _logical_topic(self, topic: str) -> str:
        return topic.removeprefix(self._options.topic_prefix)

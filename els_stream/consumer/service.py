"""The intake as the application holds it: made once, attached to Faust's consumer, run by the agents."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.backoff import Backoff
from els_stream.consumer.batch_loop import RunLimits, Runner
from els_stream.consumer.batch_outcome import Surroundings
from els_stream.consumer.caught_up import keep_noting
from els_stream.consumer.end_offsets import keep_asking
from els_stream.consumer.fetcher import Feeder
from els_stream.consumer.handler import Bury, Handler, Reading, Remark, nothing
from els_stream.consumer.kafka_client import KAFKA_ERRORS, KafkaLog
from els_stream.consumer.offset_store import Ledger
from els_stream.consumer.partition_buffers import Lane, LaneLimits
from els_stream.consumer.reporting import Reports
from els_stream.consumer.retries import Retries
from els_stream.consumer.status import IntakeState
from els_stream.consumer.transaction import Begin, Transactions
from els_stream.db.errors import DATABASE_ERRORS

AWAY: tuple[type[Exception], ...] = (*KAFKA_ERRORS, *DATABASE_ERRORS)


@dataclass(frozen=True, slots=True)
class IntakeOptions:
    consumer_group: str
    topic_prefix: str
    lane: LaneLimits
    micro_batch: RunLimits
    backoff: Backoff


class Intake:
    def __init__(
        self,
        engine: AsyncEngine,
        begin: Begin,
        options: IntakeOptions,
        bury: Bury,
        reports: Reports,
        remark: Remark = nothing,
    ) -> None:
        """Micro-batches are transactions of `begin`; all else uses `engine`."""
        self._begin = begin
        self._options = options
        self._bury = bury
        self.reports = reports
        self.lane = Lane(options.lane)
        self.ledger = Ledger(engine, options.consumer_group)
        retries = Retries()
        self.state = IntakeState(self.lane, retries, self._logical)
        self._around = Surroundings(self.lane, self.ledger, options.backoff, reports, retries, remark)
        self._kafka: KafkaLog | None = None
        self._feeder: Feeder | None = None

    def attach(self, kafka: KafkaLog) -> None:
        """Faust's consumer does this when it is made."""
        self._kafka = kafka
        self._feeder = Feeder(self.lane, kafka, self.ledger, self.reports, AWAY, self._logical)
        self.state.attach(self._feeder.trouble, kafka)

    async def step(self) -> None:
        """One round of the feeder; Faust's fetcher calls it in a loop."""
        if self._feeder is None:
            raise RuntimeError("the intake is not attached to a consumer")
        await self._feeder.step()

    async def run(self, handler: Handler[Reading]) -> None:
        """An agent's whole work: everything that arrives on the handler's topic, each record once."""
        transactions = Transactions(self._begin, self._options.consumer_group, handler, self._bury)
        topic = self._options.topic_prefix + handler.topic
        await Runner(handler.name, topic, transactions, self._around, self._options.micro_batch).run()

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

"""Hand-written stand-ins for Kafka, PostgreSQL and time, as far as the intake looks at them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from els_stream.backoff import Backoff
from els_stream.consumer.batch_order import Behind
from els_stream.consumer.batch_outcome import Aftermath, Surroundings
from els_stream.consumer.batch_processor import Settler
from els_stream.consumer.partition_buffers import Lane, LaneLimits
from els_stream.consumer.partition_state import MicroBatch, Part, records_of, spans_of, take
from els_stream.consumer.reporting import Silent
from els_stream.consumer.retries import Retries
from els_stream.consumer.start_offsets import LogState
from els_stream.consumer.transaction import Done, Failed, Result, Suspect
from els_stream.db.errors import Failure, Verdict
from els_stream.events.records import RawRecord
from els_stream.kafka.offsets import LedgerRow, Mark, Partition, mark_of
from tests.support.waiting import until


@dataclass(frozen=True)
class Fetched:
    """As aiokafka's ConsumerRecord."""

    offset: int
    value: bytes | None = b"value"
    key: bytes | None = None
    timestamp: int = 1_700_000_000_000
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def mark(self) -> Mark:
        return mark_of(self.timestamp, self.key, self.value)


def fetched(first: int, count: int) -> list[Fetched]:
    return [Fetched(offset, f"value {offset}".encode()) for offset in range(first, first + count)]


def part_at(next_offset: int = 0, *, topic: str = "alpha", partition: int = 0, mark: Mark | None = None) -> Part:
    return Part(Partition(topic, partition), LedgerRow(next_offset, mark), check=mark is not None)


@dataclass(frozen=True)
class Outcome:
    label: str = "done"


@dataclass
class FakeLedger:
    rows: dict[Partition, LedgerRow] = field(default_factory=dict)

    async def read(self, partitions: Collection[Partition]) -> Mapping[Partition, LedgerRow]:
        return {tp: self.rows[tp] for tp in partitions if tp in self.rows}

    async def adopt(self, offsets: Mapping[Partition, int]) -> None:
        for tp, offset in offsets.items():
            self.rows.setdefault(tp, LedgerRow(offset, None))

    async def restart(self, lost: Mapping[Partition, tuple[int, int]]) -> AbstractSet[Partition]:
        moved = {tp for tp, (seen, _) in lost.items() if self.rows[tp].next_offset == seen}
        self.rows.update((tp, LedgerRow(lost[tp][1], None)) for tp in moved)
        return moved


@dataclass
class FakeLog:
    state: dict[Partition, LogState] = field(default_factory=dict)
    records: dict[Partition, list[Fetched]] = field(default_factory=dict)
    seeks: list[Mapping[Partition, int]] = field(default_factory=list)
    asked: list[AbstractSet[Partition]] = field(default_factory=list)
    positions: dict[Partition, int] = field(default_factory=dict)
    touched: int = 0
    on_fetch: Callable[[], None] = lambda: None
    on_states: Callable[[], None] = lambda: None

    def assignment(self) -> AbstractSet[Partition]:
        return set(self.state)

    def flowing(self) -> bool:
        return True

    async def states(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, LogState]:
        states = {tp: self.state[tp] for tp in partitions}
        self.on_states()
        return states

    async def seek(self, where: Mapping[Partition, int]) -> None:
        self.seeks.append(where)

    async def fetch(self, partitions: AbstractSet[Partition], seconds: float) -> Mapping[Partition, Sequence[Fetched]]:
        del seconds
        self.asked.append(partitions)
        self.on_fetch()
        return {tp: self.records.pop(tp) for tp in partitions if tp in self.records}

    def position(self, partition: Partition) -> int | None:
        return self.positions.get(partition)

    async def touch(self) -> None:
        self.touched += 1


class Stage:
    """A settler whose transactions commit into lists, and fail as the records' values and `script` say."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lane = Lane(LaneLimits(1000, 1_000_000), clock=lambda: self.now)
        self.ledger = FakeLedger()
        self.retries = Retries()
        around = Surroundings(self.lane, self.ledger, Backoff(0.001, 0.002), Silent(), self.retries, self._remark)
        self.settler = Settler(self, Aftermath("agent", around))
        self.script: list[Failure] = []
        self.commit_then_fail = False
        self.bad_release = False
        self.done: list[str] = []
        self.buried: list[tuple[str, str]] = []
        self.tried: list[list[str]] = []

    def batch(self, *values: str, partition: int = 0) -> MicroBatch:
        """These values, taken from a part of their own that stands where the ledger does."""
        tp = Partition("alpha", partition)
        row = self.ledger.rows.setdefault(tp, LedgerRow(0, None))
        part = Part(tp, row, check=False)
        self.lane.join([part])
        part.receive([Fetched(row.next_offset + n, value.encode()) for n, value in enumerate(values)], "alpha")
        return take([part], 1000, 1_000_000)

    async def attempt(self, batch: MicroBatch, suspects: Sequence[Suspect] = (), *, behind: Behind) -> Result:
        del behind
        values = [_text(record) for record in records_of(batch)]
        self.tried.append(values)
        if self.script:
            return Failed(self.script.pop(0))
        for value in values:
            if self.bad_release or value.startswith("bug"):
                return Failed(Failure(Verdict.BUG, "LookupError"))
            if value.startswith("refuse"):
                return Failed(Failure(Verdict.REFUSED, "22012"))
            if value.startswith("slow"):
                return Failed(Failure(Verdict.TIMED_OUT, "57014"))
            if value.startswith("broken"):
                return Failed(Failure(Verdict.BROKEN, "42P01"))
        return self._commit(batch, suspects, values)

    def _commit(self, batch: MicroBatch, suspects: Sequence[Suspect], values: Sequence[str]) -> Result:
        spans = spans_of((*(suspect.run for suspect in suspects), *batch))
        if any(self.ledger.rows[span.partition].next_offset != span.lo for span in spans):
            return Failed(Failure(Verdict.MOVED, "LedgerMoved"))
        self.ledger.rows.update((span.partition, LedgerRow(span.hi, span.mark)) for span in spans)
        self.done += values
        self.buried += [(_text(record), suspect.reason) for suspect in suspects for record in suspect.run.records]
        if self.commit_then_fail:
            self.commit_then_fail = False
            return Failed(Failure(Verdict.TRANSIENT, "ConnectionDoesNotExistError"))
        return Done(values, [Outcome()] * len(values), 0.0, 0.0)

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, every=0)

    def _remark(self, readings: Sequence[object], _outcomes: Sequence[object]) -> list[dict[str, str]]:
        return [{"value": str(reading)} for reading in readings]

    def next_offset(self, partition: int = 0) -> int:
        return self.ledger.rows[Partition("alpha", partition)].next_offset

    def held(self, partition: int = 0) -> bool:
        return Partition("alpha", partition) in self.lane.holds


def _text(record: RawRecord) -> str:
    return (record.value or b"").decode()


def offsets(batch: MicroBatch) -> list[int]:
    return [record.offset for record in records_of(batch)]

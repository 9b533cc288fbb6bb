"""Where to go on reading: the ledger wins over the group's offset, both ways, and the log is recognised by a record.

`decide` is pure; `StartOffsetFinder` asks the log and the ledger, and does what was decided.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from els_stream.consumer.partition_state import PartitionState
from els_stream.consumer.reporting import ConsumerEvent, ConsumerMetrics
from els_stream.failpoints import Failpoint, failpoint
from els_stream.kafka.offsets import Partition, StoredOffset

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogState:
    """What Kafka says of a partition; `committed` is the group's offset, if it has one."""

    beginning: int
    end: int
    committed: int | None


@dataclass(frozen=True, slots=True)
class InitialOffset:
    """Nobody has handled anything here under our ledger: its first row."""

    offset: int


@dataclass(frozen=True, slots=True)
class TopicRecreated:
    """The topic was deleted and made again: from the row that was `seen` to the new beginning."""

    seen: int
    beginning: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Seek to `seek`; with `check` the record there is the last handled one, or the log is another."""

    row: StoredOffset
    seek: int
    check: bool


StartPosition: TypeAlias = InitialOffset | TopicRecreated | Resume


def decide(state: LogState, row: StoredOffset | None, other_log_at: int | None) -> StartPosition:
    """`other_log_at`: the ledger's offset at which a fetched record showed that this is not the log it was."""
    if row is None:
        return InitialOffset(state.beginning if state.committed is None else state.committed)
    if state.end < row.next_offset or other_log_at == row.next_offset:
        return TopicRecreated(row.next_offset, state.beginning)
    check = row.fingerprint is not None and row.next_offset - 1 >= state.beginning
    return Resume(row, row.next_offset - 1 if check else row.next_offset, check)


class LogOffsets(Protocol):
    async def states(self, partitions: AbstractSet[Partition]) -> Mapping[Partition, LogState]: ...
    async def seek(self, where: Mapping[Partition, int]) -> None: ...


class StoredOffsets(Protocol):
    async def read(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]: ...
    async def adopt(self, offsets: Mapping[Partition, int]) -> None: ...
    async def restart(self, lost: Mapping[Partition, tuple[int, int]]) -> AbstractSet[Partition]: ...


class StartOffsetFinder:
    def __init__(self, positions: LogOffsets, ledger: StoredOffsets, reports: ConsumerMetrics) -> None:
        self._positions = positions
        self._ledger = ledger
        self._reports = reports
        self._other_log_at: dict[Partition, int] = {}

    def suspect(self, partition: Partition, offset: int) -> None:
        """The record before `offset` is not the one that was handled; the next `position` acts on it."""
        self._other_log_at[partition] = offset

    async def position(self, partitions: AbstractSet[Partition]) -> list[PartitionState]:
        """Parts to go on with, their fetch positions set; partitions that moved meanwhile are left for the next call.

        Raises what Kafka and the database raise: nothing was lost, ask again.
        """
        # The ledger first: another owner may move it meanwhile, and then an end that was read before it lies below it.
        rows = await self._ledger.read(partitions)
        states = await self._positions.states(partitions)
        decided = {tp: decide(states[tp], rows.get(tp), self._other_log_at.get(tp)) for tp in partitions}
        await self._settle(decided)
        resumes = {tp: position for tp, position in decided.items() if isinstance(position, Resume)}
        for tp, resume in resumes.items():
            if states[tp].committed not in {None, resume.row.next_offset}:
                self._reports.record_event(ConsumerEvent.GROUP_OFFSET_MISMATCH)
        if resumes:
            await self._positions.seek({tp: resume.seek for tp, resume in resumes.items()})
        return [PartitionState(tp, resume.row, check=resume.check) for tp, resume in resumes.items()]

    async def _settle(self, decided: Mapping[Partition, StartPosition]) -> None:
        new = {tp: position.offset for tp, position in decided.items() if isinstance(position, InitialOffset)}
        lost = {tp: (p.seen, p.beginning) for tp, p in decided.items() if isinstance(p, TopicRecreated)}
        if new:
            await self._ledger.adopt(new)
            failpoint(Failpoint.AFTER_OFFSETS_INITIALIZED)
        if lost:
            moved = await self._ledger.restart(lost)
            for tp in moved:
                seen, beginning = lost[tp]
                log.error("topic was made anew: %s, the ledger stood at %d, goes on at %d", tp, seen, beginning)
            self._reports.record_event(ConsumerEvent.TOPIC_RECREATED, len(moved))
            for tp in lost:
                self._other_log_at.pop(tp, None)

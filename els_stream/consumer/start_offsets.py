"""Finds the offset to go on at. The stored offset decides, not the group's; a fingerprint verifies the log.

`decide_start` is pure; `StartOffsetFinder` reads the log and the stored offsets, and does what was decided.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol, TypeAlias
from uuid import UUID

from els_stream.consumer.partition_state import PartitionState
from els_stream.consumer.reporting import ConsumerEvent, ConsumerMetrics
from els_stream.failpoints import Failpoint, failpoint
from els_stream.kafka.offsets import Partition, StoredOffset

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LogState:
    """Kafka's offsets of a partition; `committed` is the group's offset, if it has one."""

    beginning: int
    end: int
    committed: int | None


@dataclass(frozen=True, slots=True)
class PartitionUnavailable:
    """The log's offsets can't be had at present, because its leader is away; `cause` is the name of an error."""

    cause: str


@dataclass(frozen=True, slots=True)
class InitialOffset:
    """No offset is stored yet: store this one."""

    offset: int


@dataclass(frozen=True, slots=True)
class TopicRecreated:
    """The topic was deleted and created again: move the stored offset to the new beginning."""

    stored_offset: int
    beginning: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on at the stored offset, with `verify_last_record` one record before it."""

    stored: StoredOffset
    verify_last_record: bool


@dataclass(frozen=True, slots=True)
class AdoptTopicId:
    """The stored offset is of before topic ids: store the id of its topic."""


StartPosition: TypeAlias = InitialOffset | TopicRecreated | AdoptTopicId | Resume


def decide_start(
    state: LogState, stored: StoredOffset | None, log_replaced_at: int | None, topic_id: UUID | None = None
) -> StartPosition:
    """Decide where to start. `log_replaced_at`: the stored offset at which another fingerprint was found, if any.

    `topic_id` is the topic's id as it was before `state` was read; None if it is unknown. It decides where the last
    processed record is gone, or its place holds none, in a topic that was recreated and has outgrown the offset.
    """
    if stored is None:
        return InitialOffset(state.beginning if state.committed is None else state.committed)
    if state.end < stored.next_offset or log_replaced_at == stored.next_offset:
        return TopicRecreated(stored.next_offset, state.beginning)
    if topic_id is not None and stored.topic_id is None:
        return AdoptTopicId()
    if topic_id is not None and stored.topic_id != topic_id:
        return TopicRecreated(stored.next_offset, state.beginning)
    verify = stored.fingerprint is not None and stored.next_offset - 1 >= state.beginning
    return Resume(stored, verify)


class LogOffsets(Protocol):
    async def topic_ids(self, topics: AbstractSet[str]) -> Mapping[str, UUID]:
        """Return the broker's ids of these topics; empty if it has none."""

    async def log_states(
        self, partitions: AbstractSet[Partition]
    ) -> Mapping[Partition, LogState | PartitionUnavailable]: ...


class StoredOffsets(Protocol):
    async def read(self, partitions: Collection[Partition]) -> Mapping[Partition, StoredOffset]: ...
    async def initialize(self, offsets: Mapping[Partition, int]) -> None: ...
    async def adopt_topic_ids(self, partitions: Collection[Partition], topic_ids: Mapping[str, UUID]) -> None: ...
    async def reset(self, replaced: Mapping[Partition, tuple[int, int]]) -> AbstractSet[Partition]: ...
    async def record_lost(self, partition: Partition, first: int, last: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Positions:
    """Partitions with their start offsets, and the causes for which others have none yet."""

    found: Sequence[PartitionState]
    unavailable: Mapping[Partition, str]


class StartOffsetFinder:
    def __init__(self, kafka: LogOffsets, store: StoredOffsets, metrics: ConsumerMetrics) -> None:
        self._kafka = kafka
        self._store = store
        self._metrics = metrics
        self._log_replaced_at: dict[Partition, int] = {}

    def report_replaced_log(self, partition: Partition, offset: int) -> None:
        """Remember that the record before `offset` is not the one that was processed; the next `find` acts on it."""
        self._log_replaced_at[partition] = offset

    async def find(self, partitions: AbstractSet[Partition]) -> Positions:
        """Return the partitions that can be fetched now, and those whose leader is away.

        Partitions whose stored offset had to be written first are in neither: they are left for the next call. Raises
        what Kafka and the database raise; nothing is lost then, call again.
        """
        # Read the stored offsets first: another owner may advance them meanwhile, beyond an end that was read before.
        stored = await self._store.read(partitions)
        # The ids before the offsets: a stored offset moves to the beginning of the topic with the new id, or a later.
        ids = await self._kafka.topic_ids({tp.topic for tp in partitions})
        answers = await self._kafka.log_states(partitions)
        states = {tp: answer for tp, answer in answers.items() if isinstance(answer, LogState)}
        away = {tp: answer.cause for tp, answer in answers.items() if isinstance(answer, PartitionUnavailable)}
        decided = {
            tp: decide_start(state, stored.get(tp), self._log_replaced_at.get(tp), ids.get(tp.topic))
            for tp, state in states.items()
        }
        await self._store_start_offsets(decided)
        adopting = [tp for tp, start in decided.items() if isinstance(start, AdoptTopicId)]
        if adopting:
            await self._store.adopt_topic_ids(adopting, ids)
        resumes = {tp: start for tp, start in decided.items() if isinstance(start, Resume)}
        for tp, resume in resumes.items():
            if states[tp].committed not in {None, resume.stored.next_offset}:
                self._metrics.record_event(ConsumerEvent.GROUP_OFFSET_MISMATCH)
        found = [
            PartitionState(tp, resume.stored, verify_last_record=resume.verify_last_record)
            for tp, resume in resumes.items()
        ]
        return Positions(found, away)

    async def _store_start_offsets(self, decided: Mapping[Partition, StartPosition]) -> None:
        initial = {tp: start.offset for tp, start in decided.items() if isinstance(start, InitialOffset)}
        replaced = {tp: (s.stored_offset, s.beginning) for tp, s in decided.items() if isinstance(s, TopicRecreated)}
        if initial:
            await self._store.initialize(initial)
            failpoint(Failpoint.AFTER_OFFSETS_INITIALIZED)
        if replaced:
            moved = await self._store.reset(replaced)
            for tp in moved:
                log.error("%s: the topic was recreated; the stored offset moves from %d to %d", tp, *replaced[tp])
            self._metrics.record_event(ConsumerEvent.TOPIC_RECREATED, len(moved))
            for tp in replaced:
                self._log_replaced_at.pop(tp, None)

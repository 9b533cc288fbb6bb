"""Sends the records of a chaos run as the producers of several teams do, and changes the topics in between."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from els_stream.demo.expectations import Traffic
from els_stream.demo.messages import Message
from els_stream.demo.random_source import RandomSource
from els_stream.events.topics import CONTENT_PROVISIONED, INPUT_TOPICS
from tests.support.demo_environment import DemoEnvironment
from tests.support.hanging_transactions import abort_transaction, open_transactions
from tests.support.java_tools import java_jars
from tests.support.servers_away import TEMPORARY
from tests.support.topic_changes import Change, TopicChanges
from tests.support.upstream_producers import CODECS, JavaProducer, LibrdkafkaProducer, TransactionalProducer
from tests.support.waiting import until

CHUNK: Final = 200
# A long run has no more chunks than this, so they are larger.
MAX_CHUNKS: Final = 1000
# Chunks whose records of other producers may be unacked while the ordinary producer sends later ones.
CHUNKS_AHEAD: Final = 2
# Ratio of the records without a key, of those that stay with the ordinary producer.
UNKEYED: Final = 0.1
# Of the transactions: that abort first, that stay open for a while, and that are never ended.
ABORTED, OPEN, ABANDONED = 0.3, 0.1, 0.02
OPEN_SECONDS: Final = (0.2, 3.0)
NOISE: Final = [Message(topic, b"noise", b"from a transaction that was not committed") for topic in INPUT_TOPICS]


class Upstream:
    """Sends to the topics of `env`; `share` is the ratio of records that are not sent by aiokafka.

    Records whose order matters, or that become a dead letter each time they arrive, stay with it. `counts` has the
    records by producer and the changes by kind.
    """

    def __init__(self, env: DemoEnvironment, seed: int, share: float, java_codecs: int) -> None:
        self._env = env
        self._rng = RandomSource(seed)
        self._share = share
        self._changes = TopicChanges(env, self._rng)
        broker, prefix = str(env.settings.broker), env.settings.topic_prefix
        self._librdkafka = {codec: LibrdkafkaProducer(broker, prefix, codec) for codec in CODECS if share}
        self._transactional = {codec: TransactionalProducer(broker, prefix, codec) for codec in CODECS}
        self._java = {
            codec: JavaProducer(broker, prefix + CONTENT_PROVISIONED, codec, env.pool.log.parent)
            for codec in (CODECS[number] for number in self._rng.sample(range(len(CODECS)), java_codecs))
        }
        self._open: set[asyncio.Task[None]] = set()
        self._aborting = asyncio.Lock()
        self._unacked: deque[asyncio.Future[list[None]]] = deque()
        # Partitions of each topic at the start: the ordinary producer uses no others.
        self.partitions = 0
        self._sent = 0
        self._total = 0
        # Whether nothing is sent, so that the service may have nothing to handle.
        self.paused = False
        # Ratio of the records after which at most CHUNKS_AHEAD chunks are sent: those of the next fault.
        self.limit = 1.0
        self.counts: Counter[str] = Counter()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """End the processes of Java after the block."""
        if self._java:
            await asyncio.to_thread(java_jars)
        self.partitions = await self._changes.partitions()
        if self._share:
            await self._changes.use_append_time()
        try:
            yield
        finally:
            for task in self._open:
                task.cancel()
            for chunk in self._unacked:
                chunk.cancel()
            await asyncio.gather(*self._open, *self._unacked, return_exceptions=True)
            for java in self._java.values():
                java.kill()

    async def send(self, messages: Sequence[Message], traffic: Traffic, changes: Iterable[Change]) -> None:
        """Send these records of the traffic; make the changes at moments of the seed, the ratio of sent records."""
        moments = sorted((self._rng.uniform(0.1, 0.9), change) for change in changes)
        free = _Free(traffic)
        self._total = total = len(messages)
        chunk = max(CHUNK, total // MAX_CHUNKS)
        for start in range(0, total, chunk):
            while moments and moments[0][0] * total < start + chunk:
                await self._change(moments.pop(0)[1])
            await until(partial(self._may_send, start - CHUNKS_AHEAD * chunk), seconds=None)
            self._sent = min(total, start + chunk)
            await self._send(messages[start : start + chunk], free)
        await self._flush()
        self.paused = True

    async def abort_hanging(self) -> None:
        """Abort the transactions that keep readers back; to be called when none of ours can be open any longer."""
        broker = str(self._env.settings.broker)
        with contextlib.suppress(*TEMPORARY):
            async with self._aborting:
                for partition, start in (await open_transactions(broker, await self._env.end_offsets())).items():
                    if await abort_transaction(broker, partition, start):
                        self.counts["hanging transactions aborted"] += 1

    def _may_send(self, record: int) -> bool:
        return record <= self.limit * self._total

    async def has_reached(self, ratio: float, *, since: int) -> bool:
        """Return whether that ratio of the records was sent and, after the position `since`, as many were handled.

        The position counts markers of transactions too, so by itself it is ahead of the records.
        """
        return min(self._sent, await self._env.position() - since) >= round(ratio * self._total)

    async def _change(self, change: Change) -> None:
        self.paused = change.needs_pause
        if change.needs_pause:
            await self._flush()
            await self._env.until_all_handled()
        self.counts[change] += await self._changes.cause(change)
        self.paused = False

    async def _flush(self) -> None:
        """Wait until every record is acked and no transaction of ours is open."""
        while self._unacked:
            await self._unacked.popleft()
        await asyncio.gather(*(java.flush() for java in self._java.values()), *self._open)
        self._open.clear()

    async def _send(self, sent: Sequence[Message], free: _Free) -> None:
        ordinary: list[Message] = []
        others: list[Message] = []
        for message in sent:
            if free.has(message) and self._rng.random() < self._share:
                others.append(replace(message, key=None) if self._rng.random() < UNKEYED else message)
            else:
                ordinary.append(message)
        self.counts["aiokafka"] += len(ordinary)
        self._unacked.append(asyncio.gather(*self._divided(others)))
        await self._env.send(ordinary, self.partitions)
        if len(self._unacked) > CHUNKS_AHEAD:
            await self._unacked.popleft()

    def _divided(self, messages: Sequence[Message]) -> Iterable[asyncio.Task[None]]:
        """Divide the records among the other producers; each gets its share at once."""
        shares: dict[tuple[str, str], list[Message]] = {}
        contents = [("Java", codec) for codec in self._java]
        any_topic = [(kind, codec) for kind in ("librdkafka", "transactions") for codec in CODECS]
        for message in messages:
            choices = [*any_topic, *contents] if message.topic == CONTENT_PROVISIONED else any_topic
            shares.setdefault(self._rng.choice(choices), []).append(message)
        for (kind, codec), share in shares.items():
            self.counts[f"{kind} {codec}"] += len(share)
            if kind == "Java":
                yield asyncio.create_task(self._java[codec].send(share))
            elif kind == "librdkafka":
                yield asyncio.create_task(self._librdkafka[codec].send(share))
            else:
                yield from self._transact(codec, share)

    def _transact(self, codec: str, share: Sequence[Message]) -> Iterable[asyncio.Task[None]]:
        """Commit the records: at once, after an aborted attempt, or while later records arrive."""
        producer, drawn = self._transactional[codec], self._rng.random()
        if drawn < ABORTED:
            self.counts["aborted transactions"] += 1
            yield asyncio.create_task(_abort_and_commit(producer, share))
        elif drawn < ABORTED + OPEN:
            self.counts["open transactions"] += 1
            seconds = self._rng.uniform(*OPEN_SECONDS)
            other = TransactionalProducer(str(self._env.settings.broker), self._env.settings.topic_prefix, codec)
            self._in_background(other.commit(share, open_seconds=seconds))
        else:
            if drawn < ABORTED + OPEN + ABANDONED:
                self.counts["abandoned transactions"] += 1
                self._in_background(producer.abandon(NOISE))
            yield asyncio.create_task(producer.commit(share))

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._open.add(task)


async def _abort_and_commit(producer: TransactionalProducer, share: Sequence[Message]) -> None:
    await producer.abort([*NOISE, *share])
    await producer.commit(share)


class _Free:
    """The records that may come in any order and more than once."""

    def __init__(self, traffic: Traffic) -> None:
        refused = [poison.message for poison in traffic.poison]
        self._keys = {message.key for message in refused} - {None}
        self._refused = set(refused)

    def has(self, message: Message) -> bool:
        return message.key not in self._keys and message not in self._refused

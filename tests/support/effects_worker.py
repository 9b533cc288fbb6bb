"""A worker whose handlers insert one row per record, and fail on request: wired by the application as the real one.

A value that begins with `bug` or `refuse` fails, with `slow` takes a minute. The variable EFFECTS_FAULTS is a JSON
object: `before` and `after` are the fractions of transactions that fail before and after COMMIT, `bad` makes every
record fail, `pause` is a delay in seconds per micro-batch. SIGHUP blocks the event loop until no other process
has the file `blocking_lock` locked.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream import log_writer
from els_stream.app import Agent, Workload, build, choose_event_loop, run_worker
from els_stream.config.settings import load_settings
from els_stream.consumer.service import ConsumerService
from els_stream.events.records import RawRecord
from els_stream.handlers.event_handler import DomainHandler
from els_stream.observability.logging import configure_logging

RNG = SystemRandom()
INSERT = text("""
    INSERT INTO effects (topic, partition, "offset", value)
    SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                         CAST(:values AS bytea[]))
""")
FAIL = text("SELECT 1 / 0")
SLEEP = text("SELECT pg_sleep(:seconds)")


@dataclass(frozen=True, slots=True)
class Inserted:
    label: str = "inserted"


@dataclass(frozen=True, slots=True)
class Faults:
    before: float = 0.0
    after: float = 0.0
    bad: bool = False
    pause: float = 0.0
    blocking_lock: str = ""

    def block(self, *_: object) -> None:
        """Block the event loop, as a handler that computes, or that waits for a lock of a thread, does."""
        with Path(self.blocking_lock).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)


@dataclass(frozen=True, slots=True)
class InsertEffects:
    name: str
    topic: str
    faults: Faults

    def decode(self, records: Sequence[RawRecord]) -> Sequence[RawRecord]:
        return records

    async def lock(self, conn: AsyncConnection, decoded: Sequence[RawRecord]) -> Sequence[RawRecord]:
        del conn
        return decoded

    async def apply(self, conn: AsyncConnection, locked: Sequence[RawRecord]) -> Sequence[Inserted]:
        await self._inject_faults(conn, [record.value or b"" for record in locked])
        await conn.execute(
            INSERT,
            {
                "topics": [record.topic for record in locked],
                "partitions": [record.partition for record in locked],
                "offsets": [record.offset for record in locked],
                "values": [record.value for record in locked],
            },
        )
        if RNG.random() < self.faults.before:
            raise asyncpg.ConnectionDoesNotExistError("made up")
        return [Inserted()] * len(locked)

    async def _inject_faults(self, conn: AsyncConnection, values: Sequence[bytes]) -> None:
        if self.faults.pause:
            await asyncio.sleep(self.faults.pause)
        if self.faults.bad or any(value.startswith(b"bug") for value in values):
            raise LookupError("made up")
        if any(value.startswith(b"refuse") for value in values):
            await conn.execute(FAIL)
        if any(value.startswith(b"slow") for value in values):
            await conn.execute(SLEEP, {"seconds": 60})


def lose_commit_answers(fraction: float) -> None:
    """Commit, and then raise an error as if the connection had been lost, for this fraction of transactions."""
    commit: Callable[[AsyncAdapt_asyncpg_connection], None] = AsyncAdapt_asyncpg_connection.commit

    def commit_and_fail(connection: AsyncAdapt_asyncpg_connection) -> None:
        commit(connection)
        if RNG.random() < fraction:
            raise asyncpg.ConnectionDoesNotExistError("made up")

    pytest.MonkeyPatch().setattr(AsyncAdapt_asyncpg_connection, "commit", commit_and_fail)


def work(topics: Sequence[str], faults: Faults) -> Workload:
    def agent(name: str) -> Agent:
        async def run(consumer: ConsumerService, handlers: Mapping[str, DomainHandler]) -> None:
            await consumer.run(handlers[name])

        return run

    handlers: dict[str, Any] = {topic: InsertEffects(topic, topic, faults) for topic in topics}
    return Workload(handlers, {topic: agent(topic) for topic in topics})


def main() -> None:
    settings = load_settings()
    faults = Faults(**json.loads(os.environ.get("EFFECTS_FAULTS", "{}")))
    if faults.after:
        lose_commit_answers(faults.after)
    signal.signal(signal.SIGHUP, faults.block)
    configure_logging(settings.log_level, settings.log_format, log_writer.stderr)
    choose_event_loop()
    run_worker(build(settings, work(os.environ["EFFECTS_TOPICS"].split(","), faults), on_listening=lambda _: None))


if __name__ == "__main__":
    main()

"""A worker whose handlers only note what they were given: the application's own wiring around work made for faults.

What a record's value asks for: `bug` and `refuse` make its handling fail, `slow` makes it slow; the variable
EFFECTS_FAULTS (of `before`, `after`: the share of transactions that fail around COMMIT; `bad`: every record fails;
`pause`: seconds per micro-batch) makes the worker misbehave.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.dialects.postgresql.asyncpg import AsyncAdapt_asyncpg_connection
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.app import Agent, Workload, build, choose_event_loop, run_worker
from els_stream.config.settings import load_settings
from els_stream.consumer.service import ConsumerService
from els_stream.events.records import RawRecord
from els_stream.handlers.event_handler import DomainHandler

CHANCE = SystemRandom()
NOTE = text("""
    INSERT INTO effects (topic, partition, "offset", value)
    SELECT * FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                         CAST(:values AS bytea[]))
""")
REFUSED = text("SELECT 1 / 0")
SLEEP = text("SELECT pg_sleep(:seconds)")


@dataclass(frozen=True, slots=True)
class Noted:
    label: str = "noted"


@dataclass(frozen=True, slots=True)
class Faults:
    before: float = 0.0
    after: float = 0.0
    bad: bool = False
    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class NoteEffects:
    name: str
    topic: str
    faults: Faults

    def decode(self, records: Sequence[RawRecord]) -> Sequence[RawRecord]:
        return records

    async def lock(self, conn: AsyncConnection, decoded: Sequence[RawRecord]) -> Sequence[RawRecord]:
        del conn
        return decoded

    async def apply(self, conn: AsyncConnection, locked: Sequence[RawRecord]) -> Sequence[Noted]:
        await self._misbehave(conn, [record.value or b"" for record in locked])
        await conn.execute(
            NOTE,
            {
                "topics": [record.topic for record in locked],
                "partitions": [record.partition for record in locked],
                "offsets": [record.offset for record in locked],
                "values": [record.value for record in locked],
            },
        )
        if CHANCE.random() < self.faults.before:
            raise asyncpg.ConnectionDoesNotExistError("made up")
        return [Noted()] * len(locked)

    async def _misbehave(self, conn: AsyncConnection, values: Sequence[bytes]) -> None:
        if self.faults.pause:
            await asyncio.sleep(self.faults.pause)
        if self.faults.bad or any(value.startswith(b"bug") for value in values):
            raise LookupError("made up")
        if any(value.startswith(b"refuse") for value in values):
            await conn.execute(REFUSED)
        if any(value.startswith(b"slow") for value in values):
            await conn.execute(SLEEP, {"seconds": 60})


def lose_answers_of_commits(share: float) -> None:
    """The transaction is committed and the client told that its connection is gone."""
    commit: Callable[[AsyncAdapt_asyncpg_connection], None] = AsyncAdapt_asyncpg_connection.commit

    def commit_and_fail(connection: AsyncAdapt_asyncpg_connection) -> None:
        commit(connection)
        if CHANCE.random() < share:
            raise asyncpg.ConnectionDoesNotExistError("made up")

    pytest.MonkeyPatch().setattr(AsyncAdapt_asyncpg_connection, "commit", commit_and_fail)


def work(topics: Sequence[str], faults: Faults) -> Workload:
    def agent(name: str) -> Agent:
        async def run(intake: ConsumerService, handlers: Mapping[str, DomainHandler]) -> None:
            await intake.run(handlers[name])

        return run

    handlers: dict[str, Any] = {topic: NoteEffects(topic, topic, faults) for topic in topics}
    return Workload(handlers, {topic: agent(topic) for topic in topics})


def main() -> None:
    settings = load_settings()
    faults = Faults(**json.loads(os.environ.get("EFFECTS_FAULTS", "{}")))
    if faults.after:
        lose_answers_of_commits(faults.after)
    choose_event_loop()
    run_worker(build(settings, work(os.environ["EFFECTS_TOPICS"].split(","), faults), on_listening=lambda _: None))


if __name__ == "__main__":
    main()

"""An instance of the service's claims, in a process with a pool of its own: `python -m tests.support.service_instance`.

It takes a job a line, connects, says so, and at the next line hands each content to the handler as its agent does, all
at once. Then it tells in one line what became of them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass

from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.db.engine import Limits, create_engine
from els_stream.domain.claim_strategy import Strategy
from els_stream.domain.outcomes import HoldsSlot
from els_stream.events import topics
from els_stream.events.records import RawRecord
from els_stream.handlers.event_handler import DomainHandler
from els_stream.handlers.handler import process
from tests.support import factories as make
from tests.support.batch_harness import handlers_by_topic

POOL = 4
# A machine that is busy with other things must not look like a deadlock.
PATIENT = Limits(connect=60, statement=60, lock=60, idle_in_transaction=60)


@dataclass(frozen=True)
class Job:
    """Contents as they came from Kafka, and where and how they are to take slots."""

    database: str
    strategy: Strategy
    advisory_locks: bool
    values: list[str]


@dataclass(frozen=True)
class Seen:
    """What became of a content; `label` is the name of the error where there was one."""

    label: str
    essay_id: str | None = None
    created: bool | None = None


async def provision(engine: AsyncEngine, handler: DomainHandler, record: RawRecord) -> Seen:
    try:
        async with engine.begin() as conn:
            (outcome,) = await process(handler, conn, [record])
    except SQLAlchemyError as error:
        return Seen(type(error).__name__)
    if isinstance(outcome, HoldsSlot):
        return Seen(outcome.label, outcome.slot.essay_id, outcome.created)
    return Seen(outcome.label)


async def connect(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.execute(text("SELECT 1"))


async def work(job: Job) -> None:
    handlers = handlers_by_topic(strategy=Strategy(job.strategy), advisory_locks=job.advisory_locks)
    handler = handlers[topics.CONTENT_PROVISIONED]
    url = make_url(job.database).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    engine = create_engine(url, PATIENT, pool_size=POOL, name="els instance under test")
    records = [
        make.record(topics.CONTENT_PROVISIONED, value.encode(), offset=offset)
        for offset, value in enumerate(job.values)
    ]
    await asyncio.gather(*(connect(engine) for _ in range(POOL)))
    say("ready")
    await hear()
    seen = await asyncio.gather(*(provision(engine, handler, record) for record in records))
    await engine.dispose()
    say(json.dumps([asdict(one) for one in seen]))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def hear() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


async def main() -> None:
    while line := await hear():
        await work(Job(**json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main())

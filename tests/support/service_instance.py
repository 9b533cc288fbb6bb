"""A process that assigns contents with a connection pool of its own: `python -m tests.support.service_instance`.

It reads a job as a line of JSON, connects and prints "ready". At the next line it processes all contents at once, each
in its own transaction, and prints the outcomes as a line of JSON.
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
# Long enough that a busy machine is not taken for a deadlock.
PATIENT = Limits(connect=60, statement=60, lock=60, idle_in_transaction=60)


@dataclass(frozen=True)
class Job:
    """The values of contents, the database, and the claim strategy."""

    database: str
    strategy: Strategy
    advisory_locks: bool
    values: list[str]


@dataclass(frozen=True)
class SeenOutcome:
    """The outcome of a content; `label` is the name of the error where there was one."""

    label: str
    essay_id: str | None = None
    created: bool | None = None


async def provision(engine: AsyncEngine, handler: DomainHandler, record: RawRecord) -> SeenOutcome:
    try:
        async with engine.begin() as conn:
            (outcome,) = await process(handler, conn, [record])
    except SQLAlchemyError as error:
        return SeenOutcome(type(error).__name__)
    if isinstance(outcome, HoldsSlot):
        return SeenOutcome(outcome.label, outcome.slot.essay_id, outcome.created)
    return SeenOutcome(outcome.label)


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
    send_line("ready")
    await receive_line()
    seen = await asyncio.gather(*(provision(engine, handler, record) for record in records))
    await engine.dispose()
    send_line(json.dumps([asdict(one) for one in seen]))


def send_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def receive_line() -> str:
    return await asyncio.to_thread(sys.stdin.readline)


async def main() -> None:
    while line := await receive_line():
        await work(Job(**json.loads(line)))


if __name__ == "__main__":
    asyncio.run(main())

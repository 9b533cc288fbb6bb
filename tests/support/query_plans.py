"""What PostgreSQL did for statements, as EXPLAIN (ANALYZE, BUFFERS) tells it: by how many rows and pages it went."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

BIG = ("batch_essay_trackers", "essay_states", "event_outbox", "slot_assignments")


@dataclass
class PlanWork:
    """`rows` that scans of tables gave or threw away, and that joins and filters above them threw away."""

    rows: int = 0
    pages: int = 0
    scanned: set[str] = field(default_factory=set)
    plans: list[object] = field(default_factory=list)

    def add(self, plan: dict[str, Any]) -> None:
        self.plans.append(plan)
        self.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        for node in _nodes(plan):
            loops = node["Actual Loops"]
            thrown = sum(value for name, value in node.items() if name.startswith("Rows Removed"))
            if "Relation Name" in node and node["Node Type"] != "ModifyTable":
                thrown += node["Actual Rows"]
            self.rows += round(thrown * loops)
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG:
                self.scanned.add(node["Relation Name"])


async def work_of(engine: AsyncEngine, run: Callable[[AsyncConnection], Awaitable[object]]) -> PlanWork:
    """Of all that `run` executes; nothing that it writes stays."""
    async with engine.connect() as conn:
        async with _overheard(engine) as said:
            await run(conn)
        await conn.rollback()
        work = PlanWork()
        for statement, parameters in said:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            plan = (await conn.exec_driver_sql(explain, parameters)).scalar_one()
            work.add(plan[0]["Plan"])
        await conn.rollback()
        return work


async def with_statistics_of_emptiness(engine: AsyncEngine) -> None:
    """As of a service that was just installed: what comes now is not in them, and nobody gathers them again."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        for table in BIG:
            await conn.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
            await conn.execute(text(f"VACUUM ANALYZE {table}"))


@contextlib.asynccontextmanager
async def _overheard(engine: AsyncEngine) -> AsyncIterator[list[tuple[str, Any]]]:
    said: list[tuple[str, Any]] = []

    def hear(*args: Any) -> None:  # noqa: ANN401 - as SQLAlchemy calls it
        said.append((args[2], args[3]))

    event.listen(engine.sync_engine, "before_cursor_execute", hear)
    yield said
    event.remove(engine.sync_engine, "before_cursor_execute", hear)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)

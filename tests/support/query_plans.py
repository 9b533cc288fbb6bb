"""The rows and pages that PostgreSQL read for statements, by EXPLAIN (ANALYZE, BUFFERS)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

LARGE_TABLES = ("batch_essay_trackers", "essay_states", "event_outbox", "slot_assignments")


@dataclass
class PlanWork:
    """`rows` counts what scans of tables returned or discarded, and what joins and filters above them discarded."""

    rows: int = 0
    pages: int = 0
    scanned: set[str] = field(default_factory=set)
    plans: list[object] = field(default_factory=list)

    def add(self, plan: dict[str, Any]) -> None:
        self.plans.append(plan)
        self.pages += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        for node in _nodes(plan):
            loops = node["Actual Loops"]
            rows = sum(value for name, value in node.items() if name.startswith("Rows Removed"))
            if "Relation Name" in node and node["Node Type"] != "ModifyTable":
                rows += node["Actual Rows"]
            self.rows += round(rows * loops)
            if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE_TABLES:
                self.scanned.add(node["Relation Name"])


async def work_of(engine: AsyncEngine, run: Callable[[AsyncConnection], Awaitable[object]]) -> PlanWork:
    """Return the work of all statements that `run` executes, and roll them back."""
    async with engine.connect() as conn:
        async with _recorded(engine) as statements:
            await run(conn)
        await conn.rollback()
        work = PlanWork()
        for statement, parameters in statements:
            explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
            plan = (await conn.exec_driver_sql(explain, parameters)).scalar_one()
            work.add(plan[0]["Plan"])
        await conn.rollback()
        return work


async def with_empty_statistics(engine: AsyncEngine) -> None:
    """Gather statistics now and never again, as if the tables were filled right after the installation."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        for table in LARGE_TABLES:
            await conn.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = false)"))
            await conn.execute(text(f"VACUUM ANALYZE {table}"))


@contextlib.asynccontextmanager
async def _recorded(engine: AsyncEngine) -> AsyncIterator[list[tuple[str, Any]]]:
    statements: list[tuple[str, Any]] = []

    def record(*args: Any) -> None:  # noqa: ANN401 - the signature of the event
        statements.append((args[2], args[3]))

    event.listen(engine.sync_engine, "before_cursor_execute", record)
    yield statements
    event.remove(engine.sync_engine, "before_cursor_execute", record)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)

"""Compares our claim with bare asyncpg that executes the same statements: the cost of SQLAlchemy and of our own code.

Our side calls the queries that the handlers use for contents, in the same order and with the same arguments: which
upload has which slot, the claim, the lists of complete batches, the counters, the outbox. Both sides add BEGIN, the
lock of the trackers and COMMIT. Decoding, decisions, building events and storing offsets are not measured here; the
benchmark of the whole service contains them.

The other side executes the recorded statements of ours, with the same values and on equal data. It has them as arrays,
as a person would write it, also where ours pack an array into a text (`els_stream/queries/packed_arrays.py`). It also
encodes the segment of the outbox: whoever stores these events has to. The sides alternate. So the ratio is the part of
the time that the events, the driver and the database take.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

import asyncpg
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from els_stream.db.engine import Limits, create_engine
from els_stream.domain.allocation import Allocation
from els_stream.domain.batch import Batch, Content
from els_stream.domain.claim_strategy import SlotTable, Strategy
from els_stream.events.decoder import decode_content
from els_stream.handlers.outbox_events import EssayLists, outbox_rows
from els_stream.queries import claims, outbox, slots, trackers
from els_stream.queries.outbox_rows import OutboxRow
from els_stream.queries.segment_codec import encode, split
from els_stream.queries.slots import Upload
from tests.benchmarks.environment import BenchmarkEnvironment, for_sqlalchemy
from tests.benchmarks.report import Figure, Scale, Section, percentile
from tests.support import factories as make
from tests.support.batch_builders import SOURCE
from tests.support.bulk_data import BulkData

SLOTS: Final = 30
SIZES: Final = {Scale.QUICK: (1, 500), Scale.FULL: (1, 10, 100, 500)}
CONNECTIONS: Final = {Scale.QUICK: (1, 2), Scale.FULL: (1, 2, 4)}
ROUNDS: Final = {1: 60, 10: 40, 100: 24, 500: 24}
WARM_UP: Final = 2

# An array that `packed_arrays` sends as a text, with its separator and what stands for null; or any other parameter.
PARAMETER: Final = re.compile(
    r"CAST\(\(string_to_array\(\$(?P<text>\d+)\S*, \$(?P<separator>\d+)\S*, \$(?P<null>\d+)[^)]*\)\)\[2:\]"
    r" AS (?P<type>\w+)\[\]\)"
    r"|\$(?P<other>\d+)"
)

Statements = list[tuple[str, Sequence[Any]]]


@dataclass(frozen=True, slots=True)
class Case:
    strategy: Strategy
    size: int
    connections: int

    @property
    def rounds(self) -> int:
        return ROUNDS[self.size] + WARM_UP

    @property
    def crowd(self) -> BulkData:
        """The batches of one side, for all connections and rounds; each round continues where the last ended."""
        slot_table = SlotTable.ESSAY_STATES if self.strategy is Strategy.OPTION_B else SlotTable.SLOT_ASSIGNMENTS
        batches = self.connections * (self.rounds * self.size // SLOTS + 2)
        return BulkData("a-class-set", batches, SLOTS, 0, inventory=slot_table)

    def arrivals(self, connection: int, number: int) -> list[tuple[str, Content]]:
        """Return the contents of one round on one connection; batches fill one after the other."""
        first = connection * (self.rounds * self.size // SLOTS + 2) + 1
        numbers = range(number * self.size, (number + 1) * self.size)
        return [_content(self.crowd.batch_id(first + n // SLOTS), n % SLOTS) for n in numbers]

    def essay_of(self, wanted: claims.SlotClaim) -> str:
        return self.crowd.essay_id(_number(wanted.batch.batch_id), _number(wanted.slot.file_upload_id) + 1)

    def slots(self, batch_id: str) -> list[tuple[str, str]]:
        """Return essay id and text id of each slot of a full batch."""
        number = _number(batch_id)
        return [(self.crowd.essay_id(number, n + 1), f"text-{batch_id}-{n:05}") for n in range(SLOTS)]


async def measure(env: BenchmarkEnvironment, scale: Scale) -> AsyncIterator[Section]:
    for strategy in (Strategy.OPTION_B, Strategy.OPTION_A, Strategy.TWO_STEP):
        figures: list[Figure] = []
        ratios: dict[str, float] = {}
        for connections in CONNECTIONS[scale]:
            for size in SIZES[scale]:
                case = Case(strategy, size, connections)
                ours, theirs = await _compare(env, case)
                name = f"{size} together, {connections} connection{'s' if connections > 1 else ''}"
                figures += [
                    Figure(f"{name}: ours", 1e6 * _lower_quartile(ours) / size / connections, "µs/essay"),
                    Figure(f"{name}: bare asyncpg", 1e6 * _lower_quartile(theirs) / size / connections, "µs/essay"),
                ]
                ratios[f"claims_vs_raw_sql_{strategy}_{size}_{connections}"] = _lower_quartile(
                    theirs
                ) / _lower_quartile(ours)
        if strategy is Strategy.OPTION_B:
            ratios = {"claims_vs_raw_sql": ratios[f"claims_vs_raw_sql_{strategy}_{max(SIZES[scale])}_1"], **ratios}
        yield Section(f"the claim with outbox, {strategy}", figures, ratios)


def _lower_quartile(seconds: Sequence[float]) -> float:
    """Return the lower quartile: other load on the machine only makes rounds slower."""
    return percentile(seconds, 0.25)


async def _compare(env: BenchmarkEnvironment, case: Case) -> tuple[list[float], list[float]]:
    """Return the seconds of each round, ours and theirs; the sides alternate and have one database each."""
    async with _filled(env, case) as our_engine, _filled(env, case) as their_engine:
        ours: list[float] = []
        theirs: list[float] = []
        async with _bare(their_engine, case.connections) as bare:
            for number in range(case.rounds):
                turns = [await _turn(our_engine, case, connection, number) for connection in range(case.connections)]
                ours.append(await _timed(_claim(our_engine, turn, case.strategy) for turn in turns))
                for turn in turns:
                    turn.statements = [_with_arrays(*both) for both in turn.statements]
                theirs.append(await _timed(_repeat(*both) for both in zip(bare, turns, strict=True)))
    return ours[WARM_UP:], theirs[WARM_UP:]


@dataclass(slots=True)
class Turn:
    """The arguments of the queries for one micro-batch, and the statements that they executed."""

    batch_ids: set[str]
    uploads: Sequence[Upload]
    wanted: list[claims.SlotClaim]
    complete: list[str]
    changed: list[Batch]
    rows: list[OutboxRow]
    statements: Statements


async def _turn(engine: AsyncEngine, case: Case, connection: int, number: int) -> Turn:
    """Prepare a round before it is measured: free slots are claimed in the order of their ids."""
    arrivals = case.arrivals(connection, number)
    async with engine.connect() as conn:
        batches = await trackers.lock(conn, {batch_id for batch_id, _ in arrivals})
    uploads = [
        Upload(batch_id, content.event.file_upload_id, content.event.text_storage_id)
        for batch_id, content in arrivals
        if batches[batch_id].free < batches[batch_id].expected
    ]
    allocations = {batch_id: Allocation(batches[batch_id], batches.now) for batch_id in sorted(batches)}
    for batch_id, content in arrivals:
        allocations[batch_id].apply(content)
    lists = EssayLists({batch_id: case.slots(batch_id) for batch_id in batches}, {})
    wanted = [claims.SlotClaim(i.batch, slot) for i in allocations.values() for slot in i.claims]
    for one in wanted:
        one.slot.essay_id = case.essay_of(one)
    rows = [row for allocation in allocations.values() for row in outbox_rows(allocation, lists)]
    for one in wanted:
        one.slot.essay_id = ""
    complete = [batch_id for batch_id, batch in batches.items() if not batch.free]
    return Turn(set(batches), uploads, wanted, complete, list(batches.values()), rows, [])


async def _claim(engine: AsyncEngine, turn: Turn, strategy: Strategy) -> None:
    async with engine.begin() as conn:
        with _noted(conn, turn.statements):
            now = (await trackers.lock(conn, turn.batch_ids)).now
            if turn.uploads:
                list(await slots.holders(conn, turn.uploads))
            await claims.claim(conn, turn.wanted, now, strategy)
            if turn.complete:
                await slots.filled(conn, turn.complete)
            await trackers.save(conn, turn.changed)
            await outbox.put(conn, turn.rows, {batch.batch_id: batch for batch in turn.changed})


async def _repeat(connection: asyncpg.Connection, turn: Turn) -> None:
    async with connection.transaction():
        for statement, parameters in turn.statements[:-1]:
            await connection.fetch(statement, *parameters)
        await _repeat_outbox(connection, turn)


async def _repeat_outbox(connection: asyncpg.Connection, turn: Turn) -> None:
    """Execute the last statement with payloads encoded anew from the events."""
    payloads = [encode(rows, size) for rows, size in split(sorted(turn.rows, key=lambda row: row.sequence))]
    statement, parameters = turn.statements[-1]
    if payloads not in parameters:
        raise AssertionError("the last statement does not write these events")
    await connection.fetch(statement, *[payloads if value == payloads else value for value in parameters])


def _with_arrays(statement: str, parameters: Sequence[Any]) -> tuple[str, list[Any]]:
    """Return the statement with an array for each packed text."""
    arguments: list[Any] = []
    numbers: dict[str, int] = {}

    def number(key: str, value: object) -> int:
        if key not in numbers:
            arguments.append(value)
            numbers[key] = len(arguments)
        return numbers[key]

    def renumbered(found: re.Match[str]) -> str:
        if other := found["other"]:
            return f"${number(other, parameters[int(other) - 1])}"
        packed, separator, null = (parameters[int(found[name]) - 1] for name in ("text", "separator", "null"))
        values = [None if value == null else value for value in packed.split(separator)[1:]]
        return f"CAST(CAST(${number(found['text'], values)} AS text[]) AS {found['type']}[])"

    return PARAMETER.sub(renumbered, statement), arguments


@contextmanager
def _noted(conn: AsyncConnection, statements: Statements) -> Iterator[None]:
    def note(*call: Any) -> None:  # noqa: ANN401 - as SQLAlchemy calls it
        statements.append((call[2], call[3]))

    event.listen(conn.sync_connection, "before_cursor_execute", note)
    yield
    event.remove(conn.sync_connection, "before_cursor_execute", note)


@asynccontextmanager
async def _filled(env: BenchmarkEnvironment, case: Case) -> AsyncIterator[AsyncEngine]:
    async with env.database() as url:
        engine = create_engine(for_sqlalchemy(url), Limits(), pool_size=case.connections)
        async with engine.begin() as conn:
            await case.crowd.add(conn)
        yield engine
        await engine.dispose()


@asynccontextmanager
async def _bare(engine: AsyncEngine, count: int) -> AsyncIterator[list[asyncpg.Connection]]:
    """Connections with the settings of a worker's, without SQLAlchemy around them."""
    pooled = [await engine.raw_connection() for _ in range(count)]
    yield [cast("asyncpg.Connection", connection.driver_connection) for connection in pooled]
    for connection in pooled:
        connection.close()


async def _timed(work: Iterable[Coroutine[None, None, None]]) -> float:
    started = time.perf_counter()
    await asyncio.gather(*work)
    return time.perf_counter() - started


def _content(batch_id: str, number: int) -> tuple[str, Content]:
    envelope = decode_content(make.content(batch_id, number=number))
    return batch_id, Content(envelope.data, envelope.correlation_id, SOURCE)


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])

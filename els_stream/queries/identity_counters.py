"""The counters of identity columns beside their tables.

A counter lies behind its table after the table was restored or copied without it (`COPY`, `pg_restore --table`, logical
replication). Then the next rows get values that others have, or come before rows that were written earlier.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from tables import metadata

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_COLUMNS: Final = [
    (table.name, column.name) for table in metadata.sorted_tables for column in table.columns if column.identity
]
# A role that may only read tables may not read counters.
_FIND = text("""
    SELECT found.* FROM (
        SELECT i.table_name, i.column_name, pg_get_serial_sequence(i.table_name, i.column_name) AS sequence
        FROM unnest(CAST(:tables AS text[]), CAST(:columns AS text[])) AS i (table_name, column_name)
        WHERE to_regclass(i.table_name) IS NOT NULL
    ) found
    WHERE has_sequence_privilege(found.sequence, 'SELECT')
""")
_READ: Final = """
    SELECT '{table}', '{column}', '{sequence}', last_value + CAST(is_called AS int),
           (SELECT max({column}) FROM {table})
    FROM {sequence}
"""
# Conflicts with every writer, so that no transaction draws a value meanwhile.
_LOCK: Final = "LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE"
_RAISE: Final = """
    SELECT setval('{sequence}', t.highest)
    FROM (SELECT max({column}) AS highest FROM {table}) t, {sequence} s
    WHERE t.highest >= s.last_value + CAST(s.is_called AS int)
"""


@dataclass(frozen=True, slots=True)
class IdentityCounter:
    """`highest` is the highest value in the table, None for an empty table; `sequence` is its name in SQL."""

    table: str
    column: str
    sequence: str
    next_value: int
    highest: int | None

    @property
    def is_behind(self) -> bool:
        return self.highest is not None and self.next_value <= self.highest

    def __str__(self) -> str:
        return f"{self.table}.{self.column}: the next value is {self.next_value}, the table has {self.highest}"


async def read_counters(conn: AsyncConnection) -> list[IdentityCounter]:
    """Read the counters of all identity columns that the role may read. Locks nothing."""
    tables, columns = zip(*_COLUMNS, strict=True)
    found = (await conn.execute(_FIND, {"tables": list(tables), "columns": list(columns)})).all()
    selects = [_READ.format(table=table, column=column, sequence=sequence) for table, column, sequence in found]
    return [IdentityCounter(*row) for row in await conn.execute(text(" UNION ALL ".join(selects)))] if selects else []


async def raise_counter(conn: AsyncConnection, counter: IdentityCounter) -> None:
    """Set a counter past its table; writers wait until the caller's commit. A counter is never set back."""
    names = {"table": counter.table, "column": counter.column, "sequence": counter.sequence}
    await conn.execute(text(_LOCK.format(**names)))
    await conn.execute(text(_RAISE.format(**names)))

"""Makes PostgreSQL read a page from an index in the wanted order, and stop when the page is full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_NO_SORT: Final = text("SET LOCAL enable_sort = off")


async def avoid_sorting(conn: AsyncConnection) -> None:
    """Let the other statements of the transaction sort only where no index has the order.

    With statistics from when a table was small, PostgreSQL would read whole ranges and sort them.
    """
    await conn.execute(_NO_SORT)

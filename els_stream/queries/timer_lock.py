"""One at a time, over all workers: a lock that ends with the transaction, so that nobody can keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

# Pairs of int4, as the relay's, in a class of their own.
_LOCK_CLASS: Final = 0x656C_7374

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:lock_class, hashtext(:name))")


async def try_lock(conn: AsyncConnection, name: str) -> bool:
    """Whether this transaction is the only one at it; false at once where another is."""
    taken: bool = (await conn.execute(_TRY_LOCK, {"lock_class": _LOCK_CLASS, "name": name})).scalar_one()
    return taken

"""A lock per timer over all workers; it ends with the transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

# The first of two int4 keys; the second is a hash of the timer's name.
_LOCK_CLASS: Final = 0x656C_7374

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:lock_class, hashtext(:name))")


async def try_lock(conn: AsyncConnection, name: str) -> bool:
    """Try to take the lock for this transaction; return False at once if another transaction has it."""
    acquired: bool = (await conn.execute(_TRY_LOCK, {"lock_class": _LOCK_CLASS, "name": name})).scalar_one()
    return acquired

"""Rows that the process which writes them sends itself once they are committed, so that nobody reads them back.

The connection of such a transaction says so; `outbox.put` looks there, and no handler needs to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.queries.outbox import OutboxRow

_OPTION: Final = "els_handover"


@dataclass(slots=True)
class DirectPublish:
    """`shard` is this process's alone while the transaction lasts; `rows` may be sent as soon as it has committed.

    Nothing else of their keys waits in the outbox.
    """

    shard: int
    rows: list[OutboxRow] = field(default_factory=list)


async def begin_handover(conn: AsyncConnection, shard: int) -> DirectPublish:
    """What this connection object puts into the outbox from now on goes into that shard."""
    handover = DirectPublish(shard)
    await conn.execution_options(**{_OPTION: handover})
    return handover


def handover_of(conn: AsyncConnection) -> DirectPublish | None:
    """None where rows have to be read back: also within a savepoint, which may be rolled back alone."""
    if conn.sync_connection is None or conn.in_nested_transaction():
        return None
    found = conn.sync_connection.get_execution_options().get(_OPTION)
    return found if isinstance(found, DirectPublish) else None

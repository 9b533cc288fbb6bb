"""Direct publish: a process publishes the rows of its own transaction after the commit, without reading them back.

The connection of such a transaction carries a `DirectPublish` as an execution option; `outbox.put` fills it, and no
handler needs to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.queries.outbox_rows import OutboxRow

_OPTION: Final = "els_direct_publish"


@dataclass(slots=True)
class DirectPublish:
    """Only this process writes to and fetches from `shard` while the transaction lasts.

    `rows` may be published as soon as the transaction has committed: no earlier rows of their keys wait in the outbox.
    """

    shard: int
    rows: list[OutboxRow] = field(default_factory=list)


async def enable_direct_publish(conn: AsyncConnection, shard: int) -> DirectPublish:
    """Make `outbox.put` on this connection object write to that shard and collect the rows."""
    direct = DirectPublish(shard)
    await conn.execution_options(**{_OPTION: direct})
    return direct


def direct_publish_of(conn: AsyncConnection) -> DirectPublish | None:
    """Return the connection's direct publish, or None if its rows have to wait for a poll.

    None as well within a savepoint, which may be rolled back alone.
    """
    if conn.sync_connection is None or conn.in_nested_transaction():
        return None
    found = conn.sync_connection.get_execution_options().get(_OPTION)
    return found if isinstance(found, DirectPublish) else None

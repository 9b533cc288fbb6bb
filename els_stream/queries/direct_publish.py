"""Direct publish: a process publishes the events of its own transaction after the commit, without reading them back.

The connection of such a transaction carries a `DirectPublish` as an execution option; `outbox.put` fills it, and no
handler needs to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from sqlalchemy.ext.asyncio import AsyncConnection

    from els_stream.queries.outbox_rows import OutboxRow

_OPTION: Final = "els_direct_publish"


class WrittenSegment(NamedTuple):
    """A segment that the transaction wrote.

    `after` has the positions of its shard in which earlier events of its keys waited: it may be published as soon as
    these are.
    """

    shard: int
    position: int
    rows: Sequence[OutboxRow]
    after: frozenset[int]


@dataclass(slots=True)
class DirectPublish:
    """Only this process writes to and fetches from `shard` while the transaction lasts.

    `owned` are all shards of this process: it polls them after the commit without being notified.
    """

    shard: int
    owned: AbstractSet[int] = frozenset()
    segments: list[WrittenSegment] = field(default_factory=list)


async def enable_direct_publish(
    conn: AsyncConnection, shard: int, owned: AbstractSet[int] = frozenset()
) -> DirectPublish:
    """Make `outbox.put` on this connection object write to that shard and collect the segments."""
    direct = DirectPublish(shard, owned)
    await conn.execution_options(**{_OPTION: direct})
    return direct


def direct_publish_of(conn: AsyncConnection) -> DirectPublish | None:
    """Return the connection's direct publish, or None if its events have to wait for a poll.

    None as well within a savepoint, which may be rolled back alone.
    """
    if conn.sync_connection is None or conn.in_nested_transaction():
        return None
    found = conn.sync_connection.get_execution_options().get(_OPTION)
    return found if isinstance(found, DirectPublish) else None

"""A session with the settings that this service needs, whatever the server, the role or the database are set to.

They are set after the log-in and then read back, because a pooler may drop what a client asks for at its start.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Final

import asyncpg
from typing_extensions import override

from els_stream.errors import DatabaseUnusable
from els_stream.postgres.address import Keepalive

# As asyncpg's transactions end.
_COMMIT: Final = "COMMIT;"
_CANCEL: Final = "_cancel_current_command"
# Weaker levels lose acknowledged transactions when the server or its machine ends; `remote_apply` is stronger.
_DURABLE: Final = ("on", "remote_apply")
_SET_DURABLE: Final = (
    "SELECT set_config('synchronous_commit', 'on', false) "
    f"WHERE current_setting('synchronous_commit') NOT IN {_DURABLE!r};"
)
# PostgreSQL before 17 has no `transaction_timeout`, before 14 no `idle_session_timeout`.
_SET_IF_KNOWN: Final = "SELECT set_config(name, '{value}', false) FROM pg_settings WHERE name = '{name}';"
_NEWER: Final = frozenset({"idle_session_timeout", "transaction_timeout"})
# A socket of the operating system has none of these, and shows 0.
_UNCHECKED: Final = frozenset({"tcp_keepalives_count", "tcp_keepalives_idle", "tcp_keepalives_interval"})

IS_READ_ONLY: Final = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean"
_READ_BACK: Final = """
    SELECT pg_backend_pid() AS pid,
        pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only,
        current_setting('synchronous_commit') AS synchronous_commit,
        ARRAY(
            SELECT s.setting FROM unnest($1::text[]) WITH ORDINALITY AS n (name, i) LEFT JOIN pg_settings s USING (name)
            ORDER BY i
        ) AS settings
"""
PINNED: Final[Mapping[str, str]] = {
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "idle_session_timeout": "0",
}


class ReadOnlyServer(ConnectionError):
    """The server does not accept writes: it is a standby, or it was made read-only, as before a switch-over."""

    sqlstate: ClassVar[str] = "25006"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionNeeds:
    """What a session needs. `settings` are in the units of pg_settings; `command_timeout` is in seconds."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)
    writable: bool = True
    command_timeout: float | None = None


class Session(asyncpg.Connection):
    """asyncpg's connection, on a socket that finds a dead peer; a COMMIT is never cancelled.

    A COMMIT that is cancelled while it waits for a synchronous standby ends as committed on the primary alone: others
    see it, and it is lost if that standby is promoted (PostgreSQL documentation, 26.2.8). So the connection is closed
    instead. The server goes on to wait, and no one sees the transaction before the standby has it.
    """

    __slots__ = ("_committing",)
    _transport: asyncio.Transport
    _loop: asyncio.AbstractEventLoop
    _committing: bool

    @override
    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:
        if query != _COMMIT:
            return await super().execute(query, *args, timeout=timeout)
        self._committing = True
        try:
            return await super().execute(query, timeout=timeout)
        finally:
            self._committing = False

    # asyncpg calls it when a command is cancelled or out of time.
    def _cancel_current_command(self, waiter: object, cancel_waiter: object = None) -> None:
        if getattr(self, "_committing", False):
            self._loop.call_soon(self.terminate)
            return
        getattr(super(), _CANCEL)(waiter, cancel_waiter)

    def use_running_loop(self) -> None:
        """Replace the loop that the session was opened with: asyncio would not find the session's tasks by it."""
        self._loop = asyncio.get_running_loop()

    def keep_alive(self, keepalive: Keepalive) -> None:
        """Have the kernel end the connection when the peer is dead, as libpq does."""
        sock = self._transport.get_extra_info("socket")
        if not keepalive.enabled or sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", keepalive.idle),
            ("TCP_KEEPINTVL", keepalive.interval),
            ("TCP_KEEPCNT", keepalive.count),
            ("TCP_USER_TIMEOUT", keepalive.user_timeout),
        ):
            if (option := getattr(socket, name, None)) is not None:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def prepare(session: Session, needs: SessionNeeds) -> int:
    """Set and check what the session needs; return the process id of the server's backend.

    Raises ReadOnlyServer, or DatabaseUnusable if the settings are gone with the next statement.
    """
    wanted = {**PINNED, **needs.settings}
    await session.execute(_script(wanted))
    checked = [name for name in wanted if name not in _UNCHECKED | _NEWER]
    row = await session.fetchrow(_READ_BACK, checked)
    if row is None:
        raise ConnectionError("the server gave no row")
    if needs.writable and row["read_only"]:
        raise ReadOnlyServer("it is read-only: a standby, or made so")
    kept = dict(zip(checked, row["settings"], strict=True))
    lost = [name for name in checked if kept[name] != wanted[name]]
    if lost or row["synchronous_commit"] not in _DURABLE:
        raise DatabaseUnusable(
            f"the database does not keep the settings of a session ({', '.join(lost or ['synchronous_commit'])})"
        )
    pid: int = row["pid"]
    return pid


def _script(settings: Mapping[str, str]) -> str:
    """Return statements for one round trip."""
    lines = [
        _SET_IF_KNOWN.format(name=name, value=value) if name in _NEWER else f"SET {name} = '{value}';"
        for name, value in settings.items()
    ]
    return " ".join([*lines, _SET_DURABLE])

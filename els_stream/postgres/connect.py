"""Opens sessions: the only place that connects to PostgreSQL, for engines, relay, commands, migrations and demo.

Each host of the address has its own time limit, log-in and preparation of the session together. A host that kept silent
is tried last from then on, until it answers.
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from typing import TYPE_CHECKING, Final

import asyncpg

from els_stream.errors import DatabaseUnusable
from els_stream.postgres.address import Address, AddressError, Host, UrlSource
from els_stream.postgres.log_in import LogInLoop
from els_stream.postgres.parse import parse_address
from els_stream.postgres.passfile import password_of
from els_stream.postgres.pooling import STATEMENT_LOST, is_pooled, no_sessions, require_sessions
from els_stream.postgres.session import Session, SessionNeeds, prepare
from els_stream.postgres.tls import make_context

if TYPE_CHECKING:
    from collections.abc import Iterable

CONNECT_TIMEOUT_SECONDS: Final = 5.0
# Of these the other hosts would say the same: a wrong password, no such database.
_FINAL_STATES: Final = ("28", "3D")
_NO_TLS_FOR_THIS_ROLE: Final = "28000"
_TLS_REFUSED: Final = "rejected SSL upgrade"
_NO_FILE: Final = f"{os.devnull}/none"
_PARAMETER_REFUSED: Final = "unsupported startup parameter"


class NoUsableHost(ConnectionError):
    """None of several hosts gave a session; the message has the reason of each."""


class Connector:
    """Opens sessions of one kind. The address is read for each, so that a new password is used at once."""

    def __init__(self, url: UrlSource, needs: SessionNeeds, seconds: float = CONNECT_TIMEOUT_SECONDS) -> None:
        self._url = url
        self._needs = needs
        self._seconds = seconds
        self._silent: set[Host] = set()
        self._sessions_kept = False

    async def connect(self) -> Session:
        """Open a session on the first host that can serve.

        Raises asyncpg's errors and OSError, NoUsableHost for several hosts, and DatabaseUnusable if trying again
        can't help.
        """
        address = self.address()
        failed: list[tuple[Host, Exception]] = []
        for host in self._in_order(address):
            try:
                return await self._open(address, host)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                if len(address.hosts) == 1 or str(getattr(error, "sqlstate", None)).startswith(_FINAL_STATES):
                    raise
                failed.append((host, error))
        raise NoUsableHost("; ".join(f"{host}: {_reason(error)}" for host, error in failed)) from failed[-1][1]

    def address(self) -> Address:
        """Return the address as of now; raises DatabaseUnusable."""
        try:
            return parse_address(self._url() if callable(self._url) else self._url)
        except AddressError as error:
            raise DatabaseUnusable(f"the database's address: {error}") from None

    def check_sessions_again(self) -> None:
        """Check at the next connect whether a pooler keeps sessions: a statement came to another backend."""
        self._sessions_kept = False

    def _in_order(self, address: Address) -> Iterable[Host]:
        hosts = list(address.hosts)
        if address.shuffled:
            random.shuffle(hosts)
        return sorted(hosts, key=self._silent.__contains__)

    async def _open(self, address: Address, host: Host) -> Session:
        seconds = address.connect_timeout or self._seconds
        try:
            async with asyncio.timeout(seconds):
                session = await self._log_in(address, host)
                await self._prepare(session, address, host)
        except TimeoutError:
            self._silent.add(host)
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        except asyncio.CancelledError:
            self._silent.add(host)
            raise
        self._silent.discard(host)
        return session

    async def _prepare(self, session: Session, address: Address, host: Host) -> None:
        try:
            session.keep_alive(address.keepalive)
            backend = await prepare(session, self._needs)
            if is_pooled(session, backend) and not self._sessions_kept:
                await require_sessions(session, lambda: self._log_in(address, host))
            self._sessions_kept = True
        except STATEMENT_LOST:
            session.terminate()
            raise no_sessions() from None
        except BaseException:
            session.terminate()
            raise

    async def _log_in(self, address: Address, host: Host) -> Session:
        context = None if host.is_socket else make_context(address.tls)
        if context is None or not address.tls.mode.may_be_plain:
            return await self._connect(address, host, context)
        try:
            return await self._connect(address, host, context)
        except ssl.SSLError:
            pass
        except ConnectionError as error:
            if _TLS_REFUSED not in str(error):
                raise
        except asyncpg.InvalidAuthorizationSpecificationError as error:
            # A wrong password would be wrong without TLS too.
            if error.sqlstate != _NO_TLS_FOR_THIS_ROLE:
                raise
        return await self._connect(address, host, None)

    async def _connect(self, address: Address, host: Host, context: ssl.SSLContext | None) -> Session:
        name = address.application_name or address.fallback_application_name or self._needs.name
        options = {} if address.options is None else {"options": address.options}
        try:
            with LogInLoop().aborting() as loop:
                # Whatever is not given, asyncpg takes from the environment.
                session = await asyncpg.connect(
                    host=host.name,
                    port=host.port,
                    user=address.user,
                    password=password_of(address, host),
                    passfile=_NO_FILE,
                    database=address.database,
                    ssl=False if context is None else context,
                    direct_tls=address.tls.direct and context is not None,
                    server_settings={"application_name": name, **options},
                    target_session_attrs=asyncpg.connect_utils.SessionAttribute.any,
                    command_timeout=self._needs.command_timeout,
                    connection_class=Session,
                    loop=loop,
                )
        except asyncpg.ProtocolViolationError as error:
            if _PARAMETER_REFUSED not in str(error):
                raise
            raise DatabaseUnusable(
                f"{host} refuses what the database's address asks for: {error}; take it out, "
                "or have the pooler pass it on or ignore it"
            ) from None
        session.use_running_loop()
        return session


async def connect_once(url: UrlSource, name: str = "els") -> Session:
    """Open a session with the server's own limits, to make a database for instance."""
    return await Connector(url, SessionNeeds(name=name, writable=False)).connect()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(error).partition("\n")[0] or type(error).__name__

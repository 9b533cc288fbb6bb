"""One connection to a broker: aiokafka's, with logins as of now and with re-authentication (KIP-368).

Brokers with `connections.max.reauth.ms` close a connection whose client does not log in again in time. aiokafka never
does, so its connections would be cut again and again, with errors in the log and requests that are lost.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Awaitable
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslHandShakeRequest
from aiokafka.protocol.metadata import MetadataRequest
from typing_extensions import override

from els_stream.kafka.broker import Broker, PasswordLogin
from els_stream.kafka.oauth import TokenSource

log = logging.getLogger(__name__)

# The part of a session's life after which the client logs in again; chosen at random, so that not all do it at once.
REAUTHENTICATION: Final = (0.75, 0.9)
# A path that drops connections in silence is found out in this time, instead of `request_timeout_ms`.
KEEPALIVE: Final = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 20_000))


class TokenAuthenticator:
    """The exchange of OAUTHBEARER. aiokafka's takes the broker's refusal of a token for success."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source
        self._sent = False

    async def step(self, answer: bytes | None) -> tuple[bytes, bool] | None:
        """Return what to send next and that an answer is expected, or None at the end."""
        if not self._sent:
            self._sent = True
            return f"n,,\x01auth=Bearer {await self._source.token()}\x01\x01".encode(), True
        if not answer:
            return None
        # A refusal; the broker ends the exchange with an error after this (RFC 7628, section 3.2.3).
        self._source.forget()
        return b"\x01", True


class Connection(AIOKafkaConnection):
    """A connection that logs in again before its session ends; other requests wait meanwhile."""

    @override
    def __init__(self, host: str, port: int, *, broker: Broker, tokens: TokenSource | None, **options: object) -> None:
        """`options` are aiokafka's."""
        super().__init__(host, port, sasl_oauth_token_provider=tokens, **options)
        self._broker = broker
        self._tokens = tokens
        self._timer: asyncio.TimerHandle | None = None
        self._renewal: asyncio.Task[None] | None = None

    @override
    async def connect(self) -> object:
        opened = await super().connect()
        self._keep_alive()
        if self._broker.login is None:
            await self._check_without_login()
        return opened

    @override
    def send(self, request: object, expect_response: bool = True) -> Awaitable[Any]:
        if isinstance(request, SaslAuthenticateRequest):
            return self._authenticate(request)
        if self._renewal is not None and not isinstance(request, SaslHandShakeRequest):
            return self._send_later(self._renewal, request, expect_response=expect_response)
        return self._answered(super().send(request, expect_response))

    @override
    def close(self, reason: CloseReason | None = None, exc: BaseException | None = None) -> Awaitable[object]:
        if self._timer is not None:
            self._timer.cancel()
        if self._renewal is not None and self._renewal is not _current_task():
            self._renewal.cancel()
        writer = self._writer
        closed = super().close(reason, exc)
        if writer is not None:
            # Over TLS asyncio would keep the socket until the broker closes too, up to 30 s. Whoever closes has the
            # answers that it needs.
            writer.transport.abort()
        return closed

    @override
    async def _do_sasl_handshake(self) -> None:
        login = self._broker.login
        if isinstance(login, PasswordLogin):
            self._sasl_plain_password = login.password()
        await super()._do_sasl_handshake()

    @override
    def authenticator_oauth(self) -> TokenAuthenticator:
        if self._tokens is None:
            raise ValueError("OAUTHBEARER without a source of tokens")
        return TokenAuthenticator(self._tokens)

    async def _authenticate(self, request: SaslAuthenticateRequest) -> object:
        answer = await super().send(request)
        lifetime_ms: int = getattr(answer, "session_lifetime_ms", 0)
        if lifetime_ms > 0:
            seconds = lifetime_ms / 1000 * random.uniform(*REAUTHENTICATION)  # noqa: S311 - no secret
            self._timer = asyncio.get_running_loop().call_later(seconds, self._renew)
        return answer

    def _renew(self) -> None:
        if self.connected():
            self._renewal = asyncio.create_task(self._log_in_again())

    async def _log_in_again(self) -> None:
        """Log in while requests that were sent before are answered. After a failure the connection is closed.

        The next connection fails for the same reason, and reports it.
        """
        try:
            await self._do_sasl_handshake()
        except (KafkaError, OSError, ValueError, AssertionError) as error:
            log.info("a session of %s:%s was not renewed: %s", self._host, self._port, type(error).__name__)
            self.close(CloseReason.CONNECTION_BROKEN, error)
        finally:
            self._renewal = None

    async def _send_later(self, renewal: asyncio.Task[None], request: object, *, expect_response: bool) -> object:
        await asyncio.wait({renewal})
        return await self.send(request, expect_response)

    async def _answered(self, answer: Awaitable[Any]) -> object:
        """Close a connection that does not answer: aiokafka keeps it if the request was for metadata."""
        try:
            return await answer
        except TimeoutError:
            self.close(CloseReason.CONNECTION_TIMEOUT)
            raise

    async def _check_without_login(self) -> None:
        """Fail here on a port that wants a login: until then it answered as any other."""
        try:
            await self.send(MetadataRequest([]))
        except BaseException:
            self.close()
            raise

    def _keep_alive(self) -> None:
        sock = self._writer.get_extra_info("socket")
        if sock is None:
            return
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in KEEPALIVE:
            if hasattr(socket, name):  # Linux has all of them
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # called from outside of the loop
        return None

"""Access tokens of the client credentials grant, for SASL OAUTHBEARER (RFC 6749, section 4.4; RFC 7628)."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from typing import Final
from urllib.parse import quote_plus

import aiohttp
from aiokafka.abc import AbstractTokenProvider
from typing_extensions import override

from els_stream.kafka.broker import TokenLogin
from els_stream.kafka.broker_errors import TokenUnavailable

TIMEOUT_SECONDS: Final = 4.0
# A token is asked for anew when this part of its life is over.
USED_LIFE: Final = 0.8
MIN_INTERVAL_SECONDS: Final = 1.0
_OK: Final = 200


class TokenSource(AbstractTokenProvider):
    """Asks the endpoint for a token and keeps it for most of its life. It is asked at most once a second."""

    def __init__(self, login: TokenLogin) -> None:
        self._login = login
        self._token = ""
        self._refusal: str | None = None
        self._asked_at = self._until = -MIN_INTERVAL_SECONDS

    def forget(self) -> None:
        """Ask for another token next time: the broker refused this one."""
        self._until = self._asked_at + MIN_INTERVAL_SECONDS

    @override
    async def token(self) -> str:
        """Return a token; raises TokenUnavailable with a line without secrets."""
        if time.monotonic() >= self._until:
            await self._renew()
        if self._refusal is not None:
            raise TokenUnavailable(self._refusal)
        return self._token

    async def _renew(self) -> None:
        self._asked_at, lifetime = time.monotonic(), 0.0
        try:
            self._token, lifetime = await self._ask()
            self._refusal = None
        except TokenUnavailable as error:
            self._refusal = str(error.args[0])
        self._until = self._asked_at + max(USED_LIFE * lifetime, MIN_INTERVAL_SECONDS)

    async def _ask(self) -> tuple[str, float]:
        login = self._login
        form = {"grant_type": "client_credentials"} | ({} if login.scope is None else {"scope": login.scope})
        account = f"{quote_plus(login.client_id)}:{quote_plus(login.client_secret())}".encode()
        headers = {"Authorization": f"Basic {base64.b64encode(account).decode()}"}
        where = f"the token endpoint {login.url}"
        try:
            context = ssl.create_default_context(cafile=login.ca_file)
            timeout = aiohttp.ClientTimeout(TIMEOUT_SECONDS)
            async with (
                aiohttp.ClientSession(timeout=timeout) as http,
                http.post(login.url, data=form, headers=headers, ssl=context, allow_redirects=False) as answer,
            ):
                return _read(where, answer.status, await answer.read())
        except TimeoutError:
            raise TokenUnavailable(f"{where} does not answer within {TIMEOUT_SECONDS:.0f} s") from None
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise TokenUnavailable(f"{where} can't be reached: {error}") from None


def _read(where: str, status: int, body: bytes) -> tuple[str, float]:
    try:
        fields = json.loads(body)
        if status == _OK:
            return str(fields["access_token"]), float(fields.get("expires_in", 0))
        reason = f": {fields['error']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        reason = " without an access token" if status == _OK else ""
    raise TokenUnavailable(f"{where} answered {status}{reason}")

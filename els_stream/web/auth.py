"""Who may ask. With a token: whoever has it. Without one a worker listens on loopback only, and answers that host only.

Probes and metrics are open to everybody: they hold nothing of a batch. A page of another site that the browser of an
operator shows can reach loopback too, under a name that resolves to it; therefore the check of the Host header. What
changes anything wants the token as Bearer, which no browser sends by itself, or a request of the page's own origin.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from els_stream.errors import ConfigurationError
from els_stream.web.problems import Problem, ProblemCode

if TYPE_CHECKING:
    from els_stream.config.settings import Settings

OPEN: Final = frozenset({"/livez", "/readyz", "/metrics"})
SAFE: Final = frozenset({"GET", "HEAD"})
# Basic is what browsers ask people for: any user, and the token as the password.
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="els", Basic realm="els", charset="UTF-8"'}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What of a request decides. `headers` are case-insensitive."""

    method: str
    path: str
    host: str
    headers: Mapping[str, str]


class Access:
    def __init__(self, token: str | None) -> None:
        self._token = token

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """Raises ConfigurationError beyond loopback without a token."""
        token = settings.web_token
        if token is None and not is_loopback(settings.web_host):
            raise ConfigurationError(
                f"ELS_WEB_HOST={settings.web_host} is beyond loopback: set ELS_WEB_TOKEN, which /livez, /readyz and"
                " /metrics do without"
            )
        return cls(None if token is None else token.get_secret_value())

    def check(self, call: RequestInfo) -> None:
        """Raises Problem unless this call is to be answered."""
        if call.path in OPEN and call.method in SAFE:
            return
        scheme, presented = _credentials(call.headers.get("Authorization", ""))
        if self._token is None:
            _check_host(call.host)
        elif not hmac.compare_digest(presented.encode(), self._token.encode()):
            raise Problem(
                HTTPStatus.UNAUTHORIZED, ProblemCode.UNAUTHENTICATED, "this needs the token of ELS_WEB_TOKEN", CHALLENGE
            )
        holds_token = self._token is not None and scheme == "bearer"
        if call.method not in SAFE and not holds_token and not _is_same_origin(call):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                ProblemCode.CROSS_ORIGIN,
                "changes are taken from the page itself, or with the token as `Authorization: Bearer`",
            )


def is_loopback(host: str) -> bool:
    name = host.strip("[]").lower()
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _credentials(header: str) -> tuple[str, str]:
    """The scheme in lower case, and the token that was presented with it; empty where there is none."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() != "basic":
        return scheme.lower(), rest.strip() if scheme.lower() == "bearer" else ""
    try:
        return "basic", base64.b64decode(rest, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return "basic", ""


def _check_host(host: str) -> None:
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if not is_loopback(name):
        raise Problem(
            HTTPStatus.MISDIRECTED_REQUEST, ProblemCode.FOREIGN_HOST, "without ELS_WEB_TOKEN only localhost is answered"
        )


def _is_same_origin(call: RequestInfo) -> bool:
    """By what a browser says, and no page can forge. What says nothing is no browser, and needs the token."""
    site, origin = call.headers.get("Sec-Fetch-Site"), call.headers.get("Origin")
    if site is None and origin is None:
        return False
    return site in {None, "same-origin"} and (origin is None or urlsplit(origin).netloc == call.host)

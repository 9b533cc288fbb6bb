"""Access control of the web server: by token, host and origin.

With a token, requests must present it. Without one, a worker listens on loopback only and answers requests for that
host only. Probes and metrics are open to all: they contain no data of a batch.

A page of another site in an operator's browser can reach loopback too, under a name that resolves to it (DNS
rebinding); therefore the Host header is checked. A request that changes something needs the token as Bearer, which no
browser sends by itself, or must come from the page's own origin.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from els_stream.errors import ConfigurationError
from els_stream.web.problems import Problem, ProblemCode

if TYPE_CHECKING:
    from els_stream.config.settings import Settings

PUBLIC_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
# Browsers ask for a Basic login: any user name, and the token as the password.
CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="els", Basic realm="els", charset="UTF-8"'}


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """The fields of a request that access depends on. `headers` are case-insensitive."""

    method: str
    path: str
    host: str
    headers: Mapping[str, str]


class Access:
    """The access rules of one worker; without a token only requests for loopback are answered."""

    def __init__(self, read_token: Callable[[], str | None]) -> None:
        self._read_token = read_token

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """Return the rules of these settings. Raises ConfigurationError for a host beyond loopback without a token."""
        if settings.web_token is None and not is_loopback(settings.web_host):
            raise ConfigurationError(
                f"ELS_WEB_HOST={settings.web_host} is not loopback: set ELS_WEB_TOKEN"
                " (/livez, /readyz and /metrics need no token)"
            )
        return cls(partial(settings.current_secret, "web_token"))

    def check(self, request: RequestInfo) -> None:
        """Check a request. Raises Problem if it must not be answered."""
        if request.path in PUBLIC_PATHS and request.method in SAFE_METHODS:
            return
        token = self._read_token()
        scheme, presented = _credentials(request.headers.get("Authorization", ""))
        if token is None:
            _check_host(request.host)
        elif not hmac.compare_digest(presented.encode(), token.encode()):
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                ProblemCode.UNAUTHENTICATED,
                "this needs the token that ELS_WEB_TOKEN is set to",
                CHALLENGE,
            )
        has_bearer_token = token is not None and scheme == "bearer"
        if request.method not in SAFE_METHODS and not has_bearer_token and not _is_same_origin(request):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                ProblemCode.CROSS_ORIGIN,
                "changes are accepted only from the page itself, or with the token as `Authorization: Bearer`",
            )


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address, or a name that always resolves to one (RFC 6761, 6.3)."""
    name = host.strip("[]").lower()
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _credentials(header: str) -> tuple[str, str]:
    """Return the scheme in lower case, and the token that came with it, or an empty text."""
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
            HTTPStatus.MISDIRECTED_REQUEST,
            ProblemCode.FOREIGN_HOST,
            "without ELS_WEB_TOKEN only requests for localhost are answered",
        )


def _is_same_origin(request: RequestInfo) -> bool:
    """Judge by headers that browsers set and pages can't forge. Clients that send neither need the token."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site is None and origin is None:
        return False
    return site in {None, "same-origin"} and (origin is None or urlsplit(origin).netloc == request.host)

"""Checks of addresses in settings, and addresses without their password for output."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

MASK = "***"
BOOTSTRAP = "host:port[,host:port], with ports from 1 to 65535"
DATABASE = "postgresql://user:password@host:port/name, with special characters of the password percent-encoded"

_SERVER = re.compile(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$")
_SCHEMES = ("postgresql", "postgresql+asyncpg")
_SECRET_PARAMETERS = frozenset({"password", "sslpassword"})
_HIGHEST_PORT = 65_535


def check_bootstrap(value: str) -> str:
    """Return `host:port[,host:port]` without spaces; raises ValueError for any other form."""
    servers = [server.strip() for server in value.split(",")]
    if not all(_is_server(server) for server in servers):
        raise ValueError(f"must be {BOOTSTRAP}")
    return ",".join(servers)


def _is_server(server: str) -> bool:
    match = _SERVER.match(server)
    return match is not None and 1 <= int(match[2]) <= _HIGHEST_PORT


def check_database_url(value: str) -> str:
    """Return the URL with the scheme `postgresql+asyncpg`; raises ValueError without the value if it is not valid."""
    try:
        url = urlsplit(value)
        if _is_database(url):
            return urlunsplit(url._replace(scheme="postgresql+asyncpg"))
    except ValueError:  # also raised for a port that is not a number, such as after a bare slash in a password
        pass
    raise ValueError(f"must be {DATABASE}")


def _is_database(url: SplitResult) -> bool:
    complete = url.scheme in _SCHEMES and bool(url.hostname) and url.port != 0 and len(url.path) > 1
    return complete and "@" not in url.path + url.query and not url.fragment


def mask_password(address: str) -> str:
    """Return the URL with its password replaced, such as `postgresql://ada:***@db:5432/essays`, for output only."""
    url = urlsplit(address)
    account, at, server = url.netloc.rpartition("@")
    user, colon, _ = account.partition(":")
    parameters = [
        (name, MASK if name in _SECRET_PARAMETERS else text)
        for name, text in parse_qsl(url.query, keep_blank_values=True)
    ]
    netloc = f"{user}{colon}{MASK if colon else ''}{at}{server}"
    return urlunsplit(url._replace(netloc=netloc, query=urlencode(parameters, safe="*/")))


def mask_unknown(value: str) -> str:
    """Mask a value that may not be a URL: keep only its scheme, which is often the mistake."""
    scheme, separator, _ = value.partition("://")
    return f"{scheme}://{MASK}" if separator and re.fullmatch(r"[a-z0-9+]{1,24}", scheme) else MASK

"""Checks of addresses in settings, and addresses without their password for output."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from els_stream.postgres.parameters import SECRETS
from els_stream.postgres.parse import FORM, parse_address

MASK = "***"
BOOTSTRAP = "host:port[,host:port], with ports from 1 to 65535"
DATABASE = FORM

_SERVER = re.compile(r"^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$")
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
    """Return the URL with the scheme `postgresql+asyncpg`; raises AddressError without a secret if it is not valid."""
    parse_address(value)
    return urlunsplit(urlsplit(value)._replace(scheme="postgresql+asyncpg"))


def mask_password(address: str) -> str:
    """Return the URL with its password replaced, such as `postgresql://ada:***@db:5432/essays`, for output only."""
    url = urlsplit(address)
    account, at, server = url.netloc.rpartition("@")
    user, colon, _ = account.partition(":")
    parameters = [
        (name, MASK if name in SECRETS else text) for name, text in parse_qsl(url.query, keep_blank_values=True)
    ]
    netloc = f"{user}{colon}{MASK if colon else ''}{at}{server}"
    return urlunsplit(url._replace(netloc=netloc, query=urlencode(parameters, safe="*/")))


def mask_unknown(value: str) -> str:
    """Mask a value that may not be a URL: keep only its scheme, which is often the mistake."""
    scheme, separator, _ = value.partition("://")
    return f"{scheme}://{MASK}" if separator and re.fullmatch(r"[a-z0-9+]{1,24}", scheme) else MASK

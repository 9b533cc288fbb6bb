"""Addresses as people write them: checked, brought into one form, and shown without their password."""

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
    """Without spaces; raises ValueError unless every entry is host:port."""
    servers = [server.strip() for server in value.split(",")]
    if not all(_is_server(server) for server in servers):
        raise ValueError(f"must be {BOOTSTRAP}")
    return ",".join(servers)


def _is_server(server: str) -> bool:
    match = _SERVER.match(server)
    return match is not None and 1 <= int(match[2]) <= _HIGHEST_PORT


def check_database_url(value: str) -> str:
    """The same address, naming the driver we use; raises ValueError, without the value, if it is no such address."""
    try:
        parts = urlsplit(value)
        if _is_database(parts):
            return urlunsplit(parts._replace(scheme="postgresql+asyncpg"))
    except ValueError:  # also what a port that is no number raises: a bare slash in a password looks like one
        pass
    raise ValueError(f"must be {DATABASE}")


def _is_database(parts: SplitResult) -> bool:
    named = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0 and len(parts.path) > 1
    return named and "@" not in parts.path + parts.query and not parts.fragment


def mask_password(url: str) -> str:
    """For people's eyes only: user, host and name stay."""
    parts = urlsplit(url)
    account, at, server = parts.netloc.rpartition("@")
    user, colon, _ = account.partition(":")
    parameters = [
        (name, MASK if name in _SECRET_PARAMETERS else text)
        for name, text in parse_qsl(parts.query, keep_blank_values=True)
    ]
    netloc = f"{user}{colon}{MASK if colon else ''}{at}{server}"
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(parameters, safe="*/")))


def hide(value: str) -> str:
    """For a value that is not known to be an address: nothing of it but the scheme, which is often what is wrong."""
    scheme, separator, _ = value.partition("://")
    return f"{scheme}://{MASK}" if separator and re.fullmatch(r"[a-z0-9+]{1,24}", scheme) else MASK

"""The address of a PostgreSQL database, as `postgres.parse` reads it from a URL."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

UrlSource: TypeAlias = str | Callable[[], str]
"""A URL, or a function that returns it as of now, with its password."""

SYSTEM: Final = "system"


class AddressError(ValueError):
    """The address can't be used; the message says why, without a secret."""


class TlsMode(StrEnum):
    """libpq's `sslmode`."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"

    @property
    def may_be_plain(self) -> bool:
        """Whether the connection goes on without TLS if the server has none."""
        return self in {TlsMode.ALLOW, TlsMode.PREFER}

    @property
    def verifies(self) -> bool:
        return self in {TlsMode.VERIFY_CA, TlsMode.VERIFY_FULL}


@dataclass(frozen=True, slots=True)
class Host:
    """A host name, an IP address, or the folder of a socket."""

    name: str
    port: int

    @property
    def is_socket(self) -> bool:
        return self.name.startswith("/")

    def __str__(self) -> str:
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """Paths as given; `root` may be `system`, for the authorities that the system trusts."""

    mode: TlsMode
    direct: bool = False
    root: str | None = None
    certificate: str | None = None
    key: str | None = None
    key_password: str | None = field(default=None, repr=False)
    revoked: str | None = None
    revoked_folder: str | None = None
    lowest: ssl.TLSVersion | None = None
    highest: ssl.TLSVersion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Keepalive:
    """How soon the kernel finds a dead peer: seconds, and milliseconds for `user_timeout`."""

    enabled: bool = True
    idle: int = 5
    interval: int = 2
    count: int = 3
    user_timeout: int = 15_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """`connect_timeout` is for each host, in seconds; `shuffled` hosts are tried in any order."""

    hosts: tuple[Host, ...]
    user: str
    database: str
    password: str | None = field(repr=False)
    passfile: Path | None
    tls: TlsOptions
    keepalive: Keepalive
    application_name: str | None
    fallback_application_name: str | None
    options: str | None
    connect_timeout: float | None
    shuffled: bool

"""How the broker is reached: its addresses, TLS and login. Every client is made from this (see `clients`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, TypeAlias

DEFAULT_IDLE_SECONDS: Final = 180.0

# Returns a secret as of now: it may be in a file that is rotated. Never log it.
Secret: TypeAlias = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Tls:
    """The certificates of TLS; without `ca_file` the system's authorities are trusted.

    The files are read again for new connections when they have changed.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    key_password: Secret | None = None
    check_host_name: bool = True


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """SASL PLAIN or SCRAM; `mechanism` is Kafka's name of it."""

    mechanism: str
    user: str
    password: Secret


@dataclass(frozen=True, slots=True)
class TokenLogin:
    """SASL OAUTHBEARER with a token of the client credentials grant (RFC 6749, section 4.4)."""

    MECHANISM: ClassVar = "OAUTHBEARER"

    url: str
    client_id: str
    client_secret: Secret
    scope: str | None = None
    ca_file: Path | None = None

    @property
    def mechanism(self) -> str:
        return self.MECHANISM


@dataclass(frozen=True, slots=True)
class Broker:
    """The bootstrap servers (host:port[,host:port]) and how to connect to them and to those that they name."""

    servers: str
    tls: Tls | None = None
    login: PasswordLogin | TokenLogin | None = None
    max_idle_seconds: float = DEFAULT_IDLE_SECONDS

    def __str__(self) -> str:
        return self.servers

    @property
    def protocol(self) -> str:
        """Kafka's name of the security protocol."""
        transport = "PLAINTEXT" if self.tls is None else "SSL"
        return transport if self.login is None else f"SASL_{transport}"


# A string stands for bootstrap servers without TLS and login.
BrokerAddress: TypeAlias = Broker | str


def as_broker(address: BrokerAddress) -> Broker:
    return Broker(address) if isinstance(address, str) else address

"""Reads the address of a database from a URL, as libpq does (PostgreSQL documentation, 32.1.1.2), but strictly.

Parameters that the URL does not have come from libpq's environment variables, such as PGPASSWORD. libpq's defaults for
files below the home folder are not used, except its password file.
"""

from __future__ import annotations

import getpass
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from els_stream.postgres.address import SYSTEM, Address, AddressError, Host, Keepalive, TlsMode, TlsOptions
from els_stream.postgres.parameters import REFUSED, USED, VARIABLES, WITHOUT_EFFECT

FORM: Final = (
    "postgresql://user:password@host:port[,host:port]/name, with special characters of the password percent-encoded"
)
DEFAULT_PORT: Final = 5432
HIGHEST_PORT: Final = 65_535

_SCHEMES: Final = ("postgres", "postgresql", "postgresql+asyncpg")
_NAME: Final = re.compile(r"[A-Za-z_]{1,40}")
_HOST: Final = re.compile(r"\[?([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*|[A-Za-z0-9._-]+|/[^,\0]+)\]?")
_SERVER: Final = re.compile(r"(\[[^\]]*\]|[^:\]\[]*)(?::(\d*))?")


def parse_address(url: str, environ: Mapping[str, str] | None = None) -> Address:
    """Parse a URL; raises AddressError."""
    given = _with_variables(_parameters(_split(url)), os.environ if environ is None else environ)
    tls = _tls(given)
    if given.get("channel_binding") == "require" and not tls.mode.verifies:
        raise AddressError(
            "channel_binding=require: this client has no channel binding; sslmode=verify-full protects as well "
            "(with sslrootcert=system for a certificate of a public authority)"
        )
    _choice(given, "channel_binding", ("disable", "prefer", "require"))
    target = _choice(given, "target_session_attrs", ("any", "read-write", "primary"))
    del target  # sessions that must write are checked for it, whatever the address says
    return Address(
        hosts=_hosts(given),
        user=given.get("user") or _account(),
        database=_database(given),
        password=given.get("password"),
        passfile=_passfile(given),
        tls=tls,
        keepalive=_keepalive(given),
        application_name=given.get("application_name"),
        fallback_application_name=given.get("fallback_application_name"),
        options=given.get("options"),
        connect_timeout=_number(given, "connect_timeout", 0) or None,
        shuffled=_choice(given, "load_balance_hosts", ("disable", "random")) == "random",
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise AddressError(f"must be {FORM}") from None
    # An unencoded password may end anywhere: nothing of what follows it may be shown.
    if parts.scheme not in _SCHEMES or parts.fragment or "@" in parts.path + parts.query or "//" not in url:
        raise AddressError(f"must be {FORM}")
    return parts


def _parameters(parts: SplitResult) -> dict[str, str]:
    """Return the parameters by libpq's names; those of the query replace others."""
    account, _, servers = parts.netloc.rpartition("@")
    user, _, password = account.partition(":")
    hosts, ports = [], []
    for server in servers.split(","):
        match = _SERVER.fullmatch(server)
        if match is None:
            raise AddressError(f"must be {FORM}")
        hosts.append(unquote(match[1]))
        ports.append(match[2] or "")
    named = {
        "user": unquote(user),
        "password": unquote(password),
        "host": ",".join(hosts),
        "port": ",".join(ports),
        "dbname": unquote(parts.path.removeprefix("/")),
    }
    named |= dict(_pair(pair) for pair in parts.query.split("&") if pair)
    return {name: value for name, value in named.items() if value.strip(",")}


def _pair(pair: str) -> tuple[str, str]:
    name, equals, value = pair.partition("=")
    if not equals or not _NAME.fullmatch(name):
        raise AddressError(f"must be {FORM}")
    if name == "ssl":  # as JDBC and SQLAlchemy write it
        name, value = "sslmode", "require" if value == "true" else value
    _check(name, unquote(value), name)
    return name, unquote(value)


def _with_variables(parameters: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    found = dict(parameters)
    for variable, name in VARIABLES.items():
        value = environ.get(variable)
        if value and name not in found:
            _check(name, value, variable)
            found[name] = value
    return found


def _check(name: str, value: str, shown: str) -> None:
    """Raise AddressError for a parameter that is unknown or refused; `shown` is what the user calls it."""
    if name in REFUSED:
        raise AddressError(f"{shown} can't be used: {REFUSED[name]}")
    if name in WITHOUT_EFFECT:
        allowed = WITHOUT_EFFECT[name].values
        if allowed and value.lower() not in allowed:
            raise AddressError(f"{shown} must be {' or '.join(sorted(allowed))}: {WITHOUT_EFFECT[name].reason}")
    elif name not in USED:
        close = get_close_matches(name, sorted(USED), n=1)
        raise AddressError(f"there is no parameter {name}" + (f"; did you mean {close[0]}?" if close else ""))


def _hosts(given: Mapping[str, str]) -> tuple[Host, ...]:
    names = [name.strip() for name in given.get("host", "").split(",")]
    if not all(names):
        raise AddressError("names no host; for a socket, host=/run/postgresql")
    ports = given.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise AddressError(f"has {len(names)} hosts and {len(ports)} ports")
    return tuple(Host(_host(name), _port(port)) for name, port in zip(names, ports, strict=True))


def _host(name: str) -> str:
    match = _HOST.fullmatch(name)
    if match is None:
        raise AddressError(f"must be {FORM}")
    return match[1]


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not re.fullmatch(r"\d{1,5}", text) or not 1 <= int(text) <= HIGHEST_PORT:
        raise AddressError(f"must be {FORM}")
    return int(text)


def _database(given: Mapping[str, str]) -> str:
    if "dbname" not in given:
        raise AddressError("names no database")
    return given["dbname"]


def _account() -> str:
    """Return the name of the process's account, libpq's default; an arbitrary user id in a pod has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise AddressError("names no user") from None


def _passfile(given: Mapping[str, str]) -> Path | None:
    if "passfile" in given:
        return Path(given["passfile"])
    try:
        return Path.home() / ".pgpass"
    except RuntimeError:
        return None


def _tls(given: Mapping[str, str]) -> TlsOptions:
    root = given.get("sslrootcert")
    default = TlsMode.VERIFY_FULL if root == SYSTEM else TlsMode.PREFER
    mode = TlsMode(_choice(given, "sslmode", [str(mode) for mode in TlsMode]) or default)
    if root == SYSTEM and mode is not TlsMode.VERIFY_FULL:
        raise AddressError("sslrootcert=system needs sslmode=verify-full")
    if root and mode.may_be_plain:
        raise AddressError(f"sslrootcert needs sslmode=verify-full (or verify-ca): {mode} does not verify")
    if mode.verifies and root is None:
        raise AddressError(f"sslmode={mode} needs sslrootcert: a file, or system for the system's authorities")
    direct = _choice(given, "sslnegotiation", ("postgres", "direct")) == "direct"
    if direct and (mode.may_be_plain or mode is TlsMode.DISABLE):
        raise AddressError("sslnegotiation=direct needs sslmode=require, verify-ca or verify-full")
    return TlsOptions(
        mode=mode,
        direct=direct,
        root=root,
        certificate=given.get("sslcert"),
        key=given.get("sslkey"),
        key_password=given.get("sslpassword"),
        revoked=given.get("sslcrl"),
        revoked_folder=given.get("sslcrldir"),
        lowest=_tls_version(given, "ssl_min_protocol_version"),
        highest=_tls_version(given, "ssl_max_protocol_version"),
    )


def _tls_version(given: Mapping[str, str], name: str) -> ssl.TLSVersion | None:
    versions = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
    chosen = _choice(given, name, list(versions))
    return None if chosen is None else versions[chosen]


def _keepalive(given: Mapping[str, str]) -> Keepalive:
    usual = Keepalive()
    return Keepalive(
        enabled=bool(_number(given, "keepalives", 1)),
        idle=_number(given, "keepalives_idle", 0) or usual.idle,
        interval=_number(given, "keepalives_interval", 0) or usual.interval,
        count=_number(given, "keepalives_count", 0) or usual.count,
        user_timeout=_number(given, "tcp_user_timeout", 0) or usual.user_timeout,
    )


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name, str(default))
    if not re.fullmatch(r"\d{1,7}", text):
        raise AddressError(f"{name} must be a whole number")
    return int(text)


def _choice(given: Mapping[str, str], name: str, values: Sequence[str]) -> str | None:
    value = given.get(name)
    if value is not None and value not in values:
        raise AddressError(f"{name} must be {', '.join(values[:-1])} or {values[-1]}")
    return value

"""Addresses of databases are read as libpq reads them; what can't be honoured is refused with its name."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from els_stream.postgres.address import AddressError, Host, TlsMode, TlsOptions
from els_stream.postgres.parameters import REFUSED, USED, VARIABLES, WITHOUT_EFFECT
from els_stream.postgres.parse import parse_address

BASE = "postgresql://ada@db/essays"


def refusal(url: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(AddressError) as caught:
        parse_address(url, environ or {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgres://ada@db/essays", [Host("db", 5432)]),
        ("postgresql+asyncpg://ada@db:6432/essays", [Host("db", 6432)]),
        ("postgresql://ada@one:1,two:2/essays", [Host("one", 1), Host("two", 2)]),
        ("postgresql://ada@one,two:2/essays", [Host("one", 5432), Host("two", 2)]),
        ("postgresql://ada@[::1]:7,[fe80::1]/essays", [Host("::1", 7), Host("fe80::1", 5432)]),
        ("postgresql://ada@%2Frun%2Fpostgresql:6/essays", [Host("/run/postgresql", 6)]),
        ("postgresql://ada@/essays?host=/run/postgresql", [Host("/run/postgresql", 5432)]),
        ("postgresql://ada@/essays?host=one,two&port=6432", [Host("one", 6432), Host("two", 6432)]),
    ],
)
def test_hosts_are_read_in_every_form_of_libpq(url: str, hosts: list[Host]) -> None:
    assert list(parse_address(url, {}).hosts) == hosts


def test_user_password_and_database_are_decoded() -> None:
    address = parse_address("postgresql://ada%40school:a%2Fb%3Ac@db/my%20essays", {})

    assert (address.user, address.password, address.database) == ("ada@school", "a/b:c", "my essays")
    assert "a/b:c" not in repr(address)


def test_what_managed_services_write_is_accepted() -> None:
    address = parse_address(
        f"{BASE}?sslmode=verify-full&sslrootcert=system&channel_binding=require&connect_timeout=10&keepalives=1"
        "&keepalives_idle=30&keepalives_interval=10&keepalives_count=5&gssencmode=disable&options=endpoint%3Dx-1"
        "&application_name=school&target_session_attrs=read-write&sslsni=1&load_balance_hosts=random",
        {},
    )

    assert address.tls == TlsOptions(mode=TlsMode.VERIFY_FULL, root="system")
    assert (address.connect_timeout, address.options, address.application_name) == (10, "endpoint=x-1", "school")
    assert address.keepalive.idle == 30
    assert address.shuffled


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("sslmod=require", "there is no parameter sslmod; did you mean sslmode?"),
        ("pgbouncer=true", "there is no parameter pgbouncer"),
        ("sslmode=full", "sslmode must be disable, allow, prefer, require, verify-ca or verify-full"),
        ("sslmode=verify-full", "sslmode=verify-full needs sslrootcert: a file, or system for the system's"),
        ("sslmode=require&sslrootcert=system", "sslrootcert=system needs sslmode=verify-full"),
        ("sslrootcert=ca.pem", "sslrootcert needs sslmode=verify-full (or verify-ca): prefer does not verify"),
        ("sslmode=require&channel_binding=require", "sslmode=verify-full protects as well"),
        ("channel_binding=yes", "channel_binding must be disable, prefer or require"),
        ("target_session_attrs=standby", "target_session_attrs must be any, read-write or primary"),
        ("connect_timeout=soon", "connect_timeout must be a whole number"),
        ("service=essays", "service can't be used: write the parameters of the service into the address"),
        ("require_auth=scram-sha-256", "require_auth can't be used"),
        ("gssencmode=require", "gssencmode must be disable or prefer: there is no Kerberos encryption"),
        ("port=1,2", "has 1 hosts and 2 ports"),
        ("sslnegotiation=direct", "sslnegotiation=direct needs sslmode=require, verify-ca or verify-full"),
    ],
)
def test_a_parameter_that_can_not_be_honoured_is_refused(parameters: str, said: str) -> None:
    assert said in refusal(f"{BASE}?{parameters}")


def test_variables_of_libpq_stand_for_missing_parameters() -> None:
    environ = {"PGPASSWORD": "otter", "PGSSLMODE": "require", "PGPORT": "6432", "PGAPPNAME": "school", "PGUSER": "eve"}

    address = parse_address(BASE, environ)

    assert (address.user, address.password, address.application_name) == ("ada", "otter", "school")
    assert (address.hosts, address.tls.mode) == ((Host("db", 6432),), TlsMode.REQUIRE)
    assert parse_address(f"{BASE}?sslmode=disable", environ).tls.mode is TlsMode.DISABLE


def test_a_variable_that_can_not_be_honoured_is_refused_with_its_name() -> None:
    assert refusal(BASE, {"PGSERVICE": "essays"}).startswith("PGSERVICE can't be used")
    assert refusal(BASE, {"PGCHANNELBINDING": "require"}).startswith("channel_binding=require")


def test_the_account_of_the_process_is_the_user_if_none_is_named() -> None:
    assert parse_address("postgresql://db/essays", {}).user == getpass.getuser()


def test_an_account_without_a_name_needs_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 1000660000")

    monkeypatch.setattr(getpass, "getuser", no_name)

    assert refusal("postgresql://db/essays") == "names no user"


def test_every_parameter_has_one_treatment_and_is_in_the_docs() -> None:
    page = (Path(__file__).parents[3] / "docs" / "connecting.md").read_text()
    known = [*USED, *WITHOUT_EFFECT, *REFUSED]

    assert len(set(known)) == len(known)
    assert set(VARIABLES.values()) <= set(known)
    assert [name for name in known if f"`{name}`" not in page] == []

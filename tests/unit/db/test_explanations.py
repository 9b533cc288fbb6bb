"""Errors of the database become one line with an exit code, without passwords and data of rows."""

from __future__ import annotations

import socket
import ssl

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from els_stream.db.explanations import explain_database_error, explained
from els_stream.errors import ConfigurationError, SchemaOutdated, ServersUnavailable

URL = "postgresql://ada:s3cr3t@db.school:5432/essays"


def pg(state: str, message: str = "the server's words") -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"C": state, "M": message, "D": "Key (name)=(Ada Lovelace)"})


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (pg("28P01"), ConfigurationError, "refuses the login: the server's words"),
        (pg("3D000"), ConfigurationError, "can't be used: the server's words"),
        (pg("42501"), ConfigurationError, "refuses: the server's words; grant it"),
        (pg("42704"), ConfigurationError, "refuses what a session asks for"),
        (pg("42P01"), SchemaOutdated, "run `els migrate`"),
        (pg("3F000"), SchemaOutdated, "has no schema to use"),
        (pg("25006"), ServersUnavailable, "is read-only"),
        (pg("57P03"), ServersUnavailable, "does not answer: the server's words"),
        (pg("23505"), ServersUnavailable, "does not answer: 23505"),
        (TimeoutError(), ServersUnavailable, "does not answer: no answer in time"),
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), ServersUnavailable, "Connection refused"),
        (socket.gaierror(-2, "Name or service not known"), ServersUnavailable, "Name or service not known"),
        (asyncpg.InterfaceError("connection is closed"), ServersUnavailable, "connection is closed"),
        (ssl.SSLCertVerificationError(1, "self-signed"), ConfigurationError, "can't be trusted"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_error_has_its_line(error: Exception, kind: type[Exception], text: str) -> None:
    for raised in (error, DBAPIError("SELECT :name", {"name": "Ada Lovelace"}, error)):
        shown = explain_database_error(raised, URL)

        assert type(shown) is kind
        assert text in str(shown)
        assert str(shown).startswith("the database postgresql://ada:***@db.school:5432/essays ")
        assert "\n" not in str(shown)
        assert "Lovelace" not in str(shown)


def test_a_migration_does_not_advise_to_migrate() -> None:
    with (
        pytest.raises(ConfigurationError, match="can't be migrated: the server's words") as caught,
        explained(URL, migrating=True),
    ):
        raise pg("42P07")

    assert not isinstance(caught.value, SchemaOutdated)


def test_a_broken_pipe_is_not_the_databases() -> None:
    with pytest.raises(BrokenPipeError), explained(URL):
        raise BrokenPipeError

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from els_stream.postgres.address import Host
from els_stream.postgres.parse import parse_address
from els_stream.postgres.passfile import password_of

LINES = r"""
# a comment
db:5432:essays:eve:for-eve
other:*:*:ada:for-other
db:5432:essays:ada:with\:colon\\and-backslash
*:*:*:*:for-all
localhost:5432:essays:ada:never-reached
short:line
"""


@pytest.fixture
def passfile(tmp_path: Path) -> Path:
    path = tmp_path / "pgpass"
    path.touch(mode=0o600)
    path.write_text(LINES)
    return path


@pytest.mark.parametrize(
    ("host", "port", "password"),
    [
        ("db", 5432, r"with:colon\and-backslash"),
        ("other", 7, "for-other"),
        ("db", 5433, "for-all"),
        ("/run/postgresql", 5432, "for-all"),
    ],
)
def test_the_first_line_that_matches_has_the_password(passfile: Path, host: str, port: int, password: str) -> None:
    address = parse_address(f"postgresql://ada@db/essays?passfile={passfile}", {})

    assert password_of(address, Host(host, port)) == password


def test_the_password_of_the_address_comes_first(passfile: Path) -> None:
    address = parse_address(f"postgresql://ada:own@db/essays?passfile={passfile}", {})

    assert password_of(address, Host("db", 5432)) == "own"


def test_a_file_that_others_may_read_is_not_used(passfile: Path) -> None:
    passfile.chmod(0o640)
    address = parse_address(f"postgresql://ada@db/essays?passfile={passfile}", {})

    with capture_logs() as logs:
        assert password_of(address, Host("db", 5432)) is None

    assert [entry["event"] for entry in logs] == ["password_file_ignored"]


def test_a_missing_file_has_no_password(tmp_path: Path) -> None:
    address = parse_address(f"postgresql://ada@db/essays?passfile={tmp_path / 'none'}", {})

    assert password_of(address, Host("db", 5432)) is None

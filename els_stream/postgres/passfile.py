r"""libpq's password file (PostgreSQL documentation, 32.16): lines host:port:database:user:password, `*` for any.

asyncpg's own reader leaves the backslash of `\:` in the password, so one with a colon would work in psql only.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Final

import structlog

from els_stream.postgres.address import Address, Host

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_FIELD: Final = re.compile(r"((?:\\.|[^:\\])*)(?::|$)")
_FIELDS: Final = 5

log = structlog.get_logger(__name__)


def password_of(address: Address, host: Host) -> str | None:
    """Return the password of the address, else the file's for this host; None if there is none."""
    if address.password is not None or address.passfile is None:
        return address.password
    name = "localhost" if host.is_socket else host.name
    wanted = (name, str(host.port), address.database, address.user)
    for line in _lines(address.passfile):
        *entry, password = line
        if all(have in {"*", want} for have, want in zip(entry, wanted, strict=True)):
            return password
    return None


def _lines(path: Path) -> list[list[str]]:
    try:
        mode = path.stat().st_mode
        text = path.read_text() if stat.S_ISREG(mode) else ""
    except (OSError, UnicodeDecodeError):
        return []
    if text and mode & OTHERS:
        log.warning("password_file_ignored", file=str(path), reason="others may read it: chmod 600")
        return []
    split = (_fields(line) for line in text.splitlines() if line and not line.startswith("#"))
    return [fields for fields in split if len(fields) == _FIELDS]


def _fields(line: str) -> list[str]:
    found = [re.sub(r"\\(.)", r"\1", match[1]) for match in _FIELD.finditer(line)]
    # The pattern matches once more, with nothing, at the end of the line.
    return found[:_FIELDS]

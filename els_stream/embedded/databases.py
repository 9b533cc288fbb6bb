"""Creates and drops databases. A test gets a copy of a template, which is faster than a migration."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from els_stream.postgres.connect import Connector
from els_stream.postgres.session import SessionNeeds

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")


async def create_database(url: str, name: str, template: str | None = None) -> str:
    """Create a database and return its URL. No other session may be connected to the template."""
    copied = "" if template is None else f" TEMPLATE {_quoted(template)} STRATEGY FILE_COPY"
    await _execute(url, f"CREATE DATABASE {_quoted(name)}{copied}")
    return with_database(url, name)


async def drop_database(url: str, name: str) -> None:
    """Drop the database, if it exists, and end its connections."""
    await _execute(url, f"DROP DATABASE IF EXISTS {_quoted(name)} WITH (FORCE)")


def with_database(url: str, name: str) -> str:
    """Return the URL of another database of the same server."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


async def _execute(url: str, statement: str) -> None:
    connection = await Connector(url, SessionNeeds(name="els")).connect()
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _quoted(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"not a plain name: {name}")
    return f'"{name}"'

"""Checks that a database can be used at all: its server's age, its encoding and the rights of the role."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from els_stream.errors import ConfigurationError

OLDEST_POSTGRESQL: Final = 15
ENCODING: Final = "UTF8"
RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

_FACTS: Final = text("""
    SELECT current_setting('server_version_num')::integer AS version, current_setting('server_encoding') AS encoding,
           current_database() AS name
""")
_MISSING_RIGHTS: Final = text("""
    SELECT relname, relnamespace::regnamespace::text AS schema, current_user AS role,
           string_agg(asked, ', ' ORDER BY place) AS missing, count(*) OVER () AS tables
    FROM unnest(CAST(:tables AS text[])) AS name
    JOIN pg_class ON pg_class.oid = to_regclass(quote_ident(name))
    CROSS JOIN unnest(CAST(:rights AS text[])) WITH ORDINALITY AS rights(asked, place)
    WHERE NOT has_table_privilege(pg_class.oid, asked)
    GROUP BY relname, relnamespace
    ORDER BY relname
    LIMIT 1
""")


async def require_suitable(conn: AsyncConnection) -> None:
    """Raise ConfigurationError for a server that is too old or a database that can't hold every text."""
    facts = (await conn.execute(_FACTS)).one()
    check_version(facts.version)
    if facts.encoding != ENCODING:
        raise ConfigurationError(
            f"the database {facts.name} has the encoding {facts.encoding} and can't hold every text:"
            " create one with ENCODING 'UTF8' TEMPLATE template0"
        )


def check_version(number: int) -> None:
    """Raise ConfigurationError for a `server_version_num` below the oldest supported release."""
    if number < OLDEST_POSTGRESQL * 10_000:
        raise ConfigurationError(
            f"the database's server is PostgreSQL {number // 10_000}, older than {OLDEST_POSTGRESQL},"
            " the oldest that is supported"
        )


async def require_rights(conn: AsyncConnection, tables: Collection[str]) -> None:
    """Raise ConfigurationError with the first of these tables that the role may not read and write."""
    found = (await conn.execute(_MISSING_RIGHTS, {"tables": list(tables), "rights": list(RIGHTS)})).one_or_none()
    if found is None:
        return
    others = f", and on {found.tables - 1} more tables" if found.tables > 1 else ""
    raise ConfigurationError(
        f"the role {found.role} lacks {found.missing} on {found.relname}{others}:"
        f' GRANT {", ".join(RIGHTS)} ON ALL TABLES IN SCHEMA {found.schema} TO "{found.role}"'
    )

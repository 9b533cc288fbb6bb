"""Alembic's environment: migrates on the connection of `els_stream.db.migration`, or on its own under the same lock."""

from __future__ import annotations

import asyncio

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection

from els_stream.config.settings import load_settings
from els_stream.db.migration import migrating
from els_stream.db.version_table import VERSION_TABLE
from els_stream.embedded.discovery import resolve
from els_stream.errors import ElsError
from tables import metadata


def migrate(connection: Connection) -> None:
    """Run the migrations on this connection, each in its own transaction."""
    # A transaction per revision: one that builds an index concurrently commits what came before it, and no more.
    context.configure(
        connection=connection,
        target_metadata=metadata,
        version_table=VERSION_TABLE,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_alone() -> None:
    """Run the migrations for the command `alembic`, on the database of ELS_DATABASE_URL, else on that of `els up`."""
    async with migrating(resolve(load_settings(), kafka=False).database) as conn:
        await conn.run_sync(migrate)


def print_sql() -> None:
    """Print the SQL of the migrations, for `alembic --sql`."""
    context.configure(
        dialect_name="postgresql", target_metadata=metadata, version_table=VERSION_TABLE, literal_binds=True
    )
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    print_sql()
elif isinstance(handed_over := context.config.attributes.get("connection"), Connection):
    migrate(handed_over)
else:
    try:
        asyncio.run(migrate_alone())
    except ElsError as error:
        raise CommandError(str(error)) from error  # the command prints it as one line

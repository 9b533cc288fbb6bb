"""What Alembic runs: on the connection that `els_stream.db.schema` hands over, or on its own under the same lock."""

from __future__ import annotations

import asyncio

from alembic import context
from sqlalchemy import Connection

from els_stream.config.settings import load_settings
from els_stream.db.schema import migrating
from tables import metadata


def migrate(connection: Connection) -> None:
    # A transaction per revision: one that builds an index concurrently commits what came before it, and no more.
    context.configure(
        connection=connection, target_metadata=metadata, compare_server_default=True, transaction_per_migration=True
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_alone() -> None:
    async with migrating(load_settings().database) as conn:
        await conn.run_sync(migrate)


def print_sql() -> None:
    context.configure(dialect_name="postgresql", target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


if context.is_offline_mode():
    print_sql()
elif isinstance(handed_over := context.config.attributes.get("connection"), Connection):
    migrate(handed_over)
else:
    asyncio.run(migrate_alone())

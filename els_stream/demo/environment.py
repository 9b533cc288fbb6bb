"""Creates and removes a database, a topic prefix and a consumer group for one demo.

Several demos on the same servers do not disturb each other.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import asyncpg

from els_stream.db import migration
from els_stream.db.explanations import explained
from els_stream.embedded.databases import create_database, drop_database
from els_stream.embedded.processes import shielded
from els_stream.errors import ConfigurationError, ServersUnavailable
from els_stream.kafka.topics import TOPICS, delete_topics, ensure_topics

if TYPE_CHECKING:
    from els_stream.config.settings import Settings
    from els_stream.embedded.servers import Addresses


# Long enough for most batches to fill in time, short enough to wait for those that never fill.
DEADLINE_SECONDS: Final = 15


@contextlib.asynccontextmanager
async def demo_environment(settings: Settings, found: Addresses) -> AsyncIterator[Settings]:
    """Yield settings of a new migrated database and new topics; remove both at the end."""
    name = f"demo-{secrets.token_hex(4)}"
    database = name.replace("-", "_")
    try:
        with explained(found.database_url):
            url = await create_database(found.database_url, database)
    except ConfigurationError as error:
        if not isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError):
            raise
        raise ConfigurationError(
            "the demo creates a database, which the account in ELS_DATABASE_URL may not do"
        ) from error
    here = _settings(settings, found.broker, url, name)
    try:
        await migration.upgrade(here.database)
        await ensure_topics(here.broker, here.topic_prefix, here.topic_partitions, here.topic_replication_factor)
        yield here
    finally:
        await shielded(_teardown(here, found.database_url, database))


def _settings(settings: Settings, broker: str, url: str, name: str) -> Settings:
    where = settings.with_servers(broker_url=broker, database_url=url)
    own = {
        "topic_replication_factor": where.topic_replication_factor,
        "broker_url": None,
        "database_url": None,
        "consumer_group": name,
        "topic_prefix": f"{name}.",
        "batch_deadline_hours": DEADLINE_SECONDS / 3600,
        "expiry_interval_seconds": 1.0,
    }
    return settings.model_copy(update=own).with_servers(broker_url=broker, database_url=url)


async def _teardown(here: Settings, server: str, database: str) -> None:
    """Remove topics and database. Servers that have gone are ignored: the demo has reported that already."""
    with contextlib.suppress(ServersUnavailable):
        await delete_topics(here.broker, [here.topic_prefix + plan.topic for plan in TOPICS])
    with contextlib.suppress(OSError, asyncpg.PostgresError):
        await drop_database(server, database)

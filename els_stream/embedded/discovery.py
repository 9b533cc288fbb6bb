"""Finds the addresses of the broker and the database that a process uses."""

from __future__ import annotations

import sys

from els_stream.config.settings import Settings
from els_stream.embedded.servers import addresses
from els_stream.errors import ServersMissing


def resolve(settings: Settings, *, kafka: bool = True) -> Settings:
    """Return settings with both addresses: the configured ones, else those of running `els up` servers.

    Without `kafka` a configured database is enough, and the broker's address may be missing. Prints to stderr in the
    second case. Raises ServersMissing if there are neither, and ConfigurationError if only one is configured.
    """
    if not kafka and settings.database_url is not None:
        return settings
    found = addresses(settings)
    if found is None:
        raise ServersMissing(
            "no broker and no database: set ELS_BROKER_URL and ELS_DATABASE_URL, or start servers here with `els up`"
        )
    if settings.broker_url is None:
        sys.stderr.write(
            f"els: ELS_BROKER_URL and ELS_DATABASE_URL are unset: using the servers of `els up`, {found.broker}\n"
        )
    return settings.with_servers(broker_url=found.broker, database_url=found.database_url)

"""Which broker and which database a process talks to."""

from __future__ import annotations

import sys

from els_stream.config.settings import Settings
from els_stream.embedded.servers import addresses
from els_stream.errors import ServersMissing


def resolve(settings: Settings) -> Settings:
    """Settings with both addresses: those named, else those of `els up` while it answers, which is said on stderr.

    Raises ServersMissing, so that a worker without its variables never starts on something it was not told of.
    """
    found = addresses(settings)
    if found is None:
        raise ServersMissing(
            "no broker and no database: set ELS_BROKER_URL and ELS_DATABASE_URL, or start servers here with `els up`"
        )
    if settings.broker_url is None:
        sys.stderr.write(
            f"els: ELS_BROKER_URL and ELS_DATABASE_URL are unset: using what `els up` started, {found.broker}\n"
        )
    return settings.with_servers(broker_url=found.broker, database_url=found.database_url)

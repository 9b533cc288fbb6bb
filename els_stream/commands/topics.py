from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import assert_never

import click

from els_stream.commands.exit_codes import exit_codes
from els_stream.config.settings import Settings, load_settings
from els_stream.embedded.discovery import resolve
from els_stream.kafka.topics import Created, Different, Present, TopicState, ensure_topics


@click.command(epilog=exit_codes())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per topic, for scripts.")
def topics(*, as_json: bool) -> None:
    """Create the topics that are missing.

    An existing topic is not changed; differences from the intended configuration are printed.

    Example: els topics
    """
    for state in asyncio.run(ensure(resolve(load_settings()))):
        body = {"state": type(state).__name__.lower(), **asdict(state)}
        click.echo(json.dumps(body) if as_json else _line(state))


async def ensure(settings: Settings) -> list[TopicState]:
    """Create the missing topics of these settings; return the state of all."""
    return await ensure_topics(
        settings.broker, settings.topic_prefix, settings.topic_partitions, settings.topic_replication_factor
    )


def _line(state: TopicState) -> str:
    match state:
        case Created(topic):
            return f"created    {topic}"
        case Present(topic):
            return f"present    {topic}"
        case Different(topic, differences):
            return f"different  {topic}: {'; '.join(differences)}"
        case unreachable:
            assert_never(unreachable)

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
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, for scripts.")
def topics(*, as_json: bool) -> None:
    """Create the topics that are missing.

    One that exists is left as it is: what differs from our table is printed.

    Example: els topics
    """
    for state in asyncio.run(ensure(resolve(load_settings()))):
        told = {"state": type(state).__name__.lower(), **asdict(state)}
        click.echo(json.dumps(told) if as_json else _line(state))


async def ensure(settings: Settings) -> list[TopicState]:
    """All topics of these settings, created where missing."""
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

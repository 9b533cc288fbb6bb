from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from els_stream.commands.database_access import writing
from els_stream.commands.exit_codes import exit_codes
from els_stream.commands.operator import operator_name
from els_stream.config.settings import load_settings
from els_stream.embedded.discovery import resolve
from els_stream.kafka.log_offsets import read_logs
from els_stream.kafka.offsets import Partition
from els_stream.queries import consumed_offsets, skipped_offsets
from els_stream.queries.skipped_offsets import SkippedOffsets

if TYPE_CHECKING:
    from els_stream.config.settings import Settings

_REFUSED: Final = 1
_MAX_NOTE_LENGTH: Final = 500


@click.command(epilog=exit_codes({_REFUSED: "refused: the range is not at the stored offset, or not in the log"}))
@click.argument("topic")
@click.argument("partition", type=click.IntRange(0, 2**31 - 1))
@click.argument("first", type=click.IntRange(0, 2**63 - 1))
@click.argument("last", type=click.IntRange(0, 2**63 - 1))
@click.option("--note", required=True, help="Why; it is kept with the range.")
def skip(*, topic: str, partition: int, first: int, last: int, note: str) -> None:
    """Skip the offsets FIRST to LAST (inclusive) of a partition, because nothing can read them.

    TOPIC is the broker's name. FIRST must be the stored offset. The range is kept, and `els verify` shows it.
    A running worker goes on after it once the present pause of the partition is over.

    Example: els dlq skip huleedu.file.essay.content.provisioned.v1 3 120 139 --note "bad checksum"
    """
    if last < first:
        raise click.UsageError("LAST is before FIRST")
    skipped = SkippedOffsets(Partition(topic, partition), first, last, note[:_MAX_NOTE_LENGTH], operator_name())
    refusal = asyncio.run(_skip(resolve(load_settings()), skipped))
    if refusal is not None:
        click.echo(f"els: {refusal}", err=True)
        click.get_current_context().exit(_REFUSED)
    click.echo(str(skipped))


async def _skip(settings: Settings, skipped: SkippedOffsets) -> str | None:
    """Skip the range, or return why not. Beyond the log's end the topic would be taken for a new one."""
    partition = skipped.partition
    async with writing(settings) as engine:
        log = (await read_logs(settings.broker, [partition.topic])).get(partition)
        if log is None:
            return f"there is no partition {partition}"
        if skipped.last >= log.end:
            return f"{partition} ends at {log.end}: nothing was skipped"
        async with engine.begin() as conn:
            if await skipped_offsets.skip(conn, settings.consumer_group, skipped):
                return None
            stored = (await consumed_offsets.read(conn, settings.consumer_group, [partition])).get(partition)
    at = "not set" if stored is None else str(stored.next_offset)
    return f"the stored offset of {partition} is {at}, not {skipped.first}: nothing was skipped"

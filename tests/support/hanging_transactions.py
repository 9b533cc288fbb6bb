"""Ends transactions that the broker's coordinator has lost, as an operator does: `kafka-transactions.sh abort`.

A broker that is killed can forget a transaction whose records are in the log. Nothing ends it by itself, so readers of
committed records stay before it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from els_stream.embedded.kafka import java_command
from els_stream.kafka.log_offsets import read_logs
from els_stream.kafka.offsets import Partition
from tests.support.java_tools import java_jars


async def open_transactions(broker: str, ends: Mapping[Partition, int]) -> dict[Partition, int]:
    """Return where the first open transaction of each partition starts; `ends` are the ends of the logs."""
    logs = await read_logs(broker, {tp.topic for tp in ends})
    return {tp: logs[tp].end for tp, end in ends.items() if tp in logs and logs[tp].end < end}


async def abort_transaction(broker: str, partition: Partition, start: int) -> bool:
    """Abort the transaction that starts at this offset; return False if it had ended by itself.

    Raises RuntimeError with what Kafka's tool said if it is still open, and ServersUnavailable.
    """
    jars = os.pathsep.join(map(str, await asyncio.to_thread(java_jars)))
    process = await asyncio.create_subprocess_exec(
        *(await java_command(), "-XX:TieredStopAtLevel=1", "-cp", jars, "org.apache.kafka.tools.TransactionsCommand"),
        *("--bootstrap-server", broker, "abort"),
        *("--topic", partition.topic, "--partition", str(partition.partition), "--start-offset", str(start)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if not process.returncode:
        return True
    logs = await read_logs(broker, {partition.topic})
    if partition in logs and logs[partition].end == start:
        raise RuntimeError(f"{partition} from {start}: {said.decode()}")
    return False

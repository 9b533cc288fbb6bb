#!/usr/bin/env bash
# Software: faust-streaming 0.15.3, Python 3.11
# Behaviour: a value that the code passes to faust.App() is only a default. For each setting there is an environment
#   variable, by default without a prefix (BROKER_URL, WEB_PORT, STREAM_WAIT_EMPTY, APP_VERSION ...), and it wins over the
#   argument without a line in the log. So a variable that a deployment sets for another part of the service moves a
#   worker to another broker or port. APP_VERSION is the worst guess: a deployment's "1.4.2" ends the program with
#   ValueError, and 7 sets the version to 7 but leaves the id, which is the consumer group, as it was, while the argument
#   version=7 changes the id. Give an env_prefix that nothing else uses.
# Output seen:
#   arguments: kafka://code, port 6066, wait True, version 1, id essays
#   argument version=7: kafka://code, port 6066, wait True, version 7, id essays-v7
#   arguments and variables: kafka://environment, port 7777, wait False, version 7, id essays
#   arguments, variables and a prefix: kafka://code, port 6066, wait True, version 1, id essays
#   APP_VERSION=1.4.2: ValueError
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check faust-streaming==0.15.3

cat >"$dir/try.py" <<'PY'
import os

for name in ("BROKER_URL", "WEB_PORT", "APP_VERSION", "STREAM_WAIT_EMPTY", "APP_ENV_PREFIX"):
    os.environ.pop(name, None)

import faust

ARGUMENTS = {"broker": "kafka://code", "web_port": 6066, "stream_wait_empty": True}


def show(title: str, **more: object) -> None:
    conf = faust.App("essays", **(ARGUMENTS | more)).conf
    wait = conf.stream_wait_empty
    print(f"{title}: {conf.broker[0]}, port {conf.web_port}, wait {wait}, version {conf.version}, id {conf.id}")


show("arguments")
show("argument version=7", version=7)
os.environ |= {"BROKER_URL": "kafka://environment", "WEB_PORT": "7777", "STREAM_WAIT_EMPTY": "no", "APP_VERSION": "7"}
show("arguments and variables", version=1)
show("arguments, variables and a prefix", env_prefix="ESSAYS_")
os.environ["APP_VERSION"] = "1.4.2"
try:
    show("APP_VERSION=1.4.2", version=1)
except ValueError:
    print("APP_VERSION=1.4.2: ValueError")
PY
seen=$("$dir/venv/bin/python" "$dir/try.py")
printf '%s\n' "$seen"
expected='arguments: kafka://code, port 6066, wait True, version 1, id essays
argument version=7: kafka://code, port 6066, wait True, version 7, id essays-v7
arguments and variables: kafka://environment, port 7777, wait False, version 7, id essays
arguments, variables and a prefix: kafka://code, port 6066, wait True, version 1, id essays
APP_VERSION=1.4.2: ValueError'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

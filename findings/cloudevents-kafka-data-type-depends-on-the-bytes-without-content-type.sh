#!/usr/bin/env bash
# Software: cloudevents 2.2.0 (Python SDK), Python 3.11
# Behaviour: a Kafka record in binary mode that has no "content-type" header is legal. The SDK then guesses the type of
#   the data from the bytes of each record: JSON if they parse, else text, else bytes. So one topic of plain text gives
#   int for "17", None for "null" and str for "seventeen". A foreign header whose bytes are not UTF-8 (a trace id in
#   binary form, say) makes the whole record unreadable, though it is no part of the event.
# Output seen:
#   17 -> int
#   null -> NoneType
#   seventeen -> str
#   bytes ff fe -> bytes
#   17 with content-type text/plain -> str
#   a binary header beside the event -> UnicodeDecodeError
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check cloudevents==2.2.0
cat >"$dir/try.py" <<'PY'
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat

EVENT = {"ce_id": b"1", "ce_type": b"essay", "ce_source": b"/school", "ce_specversion": b"1.0"}


def kind(value: bytes, **headers: bytes) -> str:
    named = {name.replace("_", "-"): header for name, header in headers.items()}
    try:
        event = from_binary(KafkaMessage(headers=EVENT | named, key=None, value=value), JSONFormat())
    except UnicodeDecodeError as error:
        return type(error).__name__
    return type(event.get_data()).__name__


print("17 ->", kind(b"17"))
print("null ->", kind(b"null"))
print("seventeen ->", kind(b"seventeen"))
print("bytes ff fe ->", kind(b"\xff\xfe"))
print("17 with content-type text/plain ->", kind(b"17", content_type=b"text/plain"))
print("a binary header beside the event ->", kind(b"17", trace_id=b"\xfe\x01"))
PY
seen=$("$dir/venv/bin/python" "$dir/try.py")
printf '%s\n' "$seen"
expected='17 -> int
null -> NoneType
seventeen -> str
bytes ff fe -> bytes
17 with content-type text/plain -> str
a binary header beside the event -> UnicodeDecodeError'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

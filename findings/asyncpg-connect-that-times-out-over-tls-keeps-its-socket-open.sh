#!/usr/bin/env bash
# Software: asyncpg 0.32.0, Python 3.11 (asyncio)
# Behaviour: connect() that is cancelled, or out of time, while it waits for the server's answer to the log-in calls
#   close() on its transport. Without TLS the socket is closed at once. With TLS asyncio sends a close_notify and waits
#   up to 30 s for the server's, so a server that is frozen or overloaded keeps a socket of the client for each attempt:
#   a client that gives up after 1 s and tries again has some 30 of them. A program whose event loop ends meanwhile gets
#   a ResourceWarning of a transport that nobody can close.
# Output seen:
#   without TLS: connect() ended with TimeoutError, sockets open 3 s later: 0
#   with TLS: connect() ended with TimeoutError, sockets open 3 s later: 1
set -euo pipefail
dir=$(mktemp -d)
trap '[ -z "${server:-}" ] || kill "$server" 2>/dev/null || true; rm -rf "$dir"' EXIT

python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check asyncpg==0.32.0 trustme==1.2.1

cat >"$dir/server.py" <<'PY'
"""A server that takes a client's log-in, with or without TLS, and does not answer it."""
import socket, ssl, struct, threading

import trustme

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
trustme.CA().issue_cert("localhost").configure_cert(context)
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
kept = []


def serve(connection: socket.socket) -> None:
    first = connection.recv(4096)
    if first == SSL_REQUEST:
        connection.sendall(b"S")
        connection = context.wrap_socket(connection, server_side=True)
        connection.recv(4096)
    kept.append(connection)


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
PY

cat >"$dir/try.py" <<'PY'
import asyncio, os, stat, sys

import asyncpg


def sockets() -> int:
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += stat.S_ISSOCK(os.stat(f"/proc/self/fd/{name}").st_mode)
        except FileNotFoundError:
            pass
    return count


async def main() -> None:
    for title, mode in (("without TLS", "disable"), ("with TLS", "require")):
        before = sockets()
        try:
            await asyncpg.connect(host="127.0.0.1", port=int(sys.argv[1]), user="els", database="els", ssl=mode, timeout=1)
            ended = "a connection"
        except TimeoutError as error:
            ended = type(error).__name__
        await asyncio.sleep(3)
        print(f"{title}: connect() ended with {ended}, sockets open 3 s later: {sockets() - before}", flush=True)


asyncio.run(main())
PY
"$dir/venv/bin/python" "$dir/server.py" >"$dir/port" &
server=$!
for _ in $(seq 100); do [ -s "$dir/port" ] && break; sleep 0.1; done
seen=$("$dir/venv/bin/python" "$dir/try.py" "$(cat "$dir/port")")
printf '%s\n' "$seen"
expected='without TLS: connect() ended with TimeoutError, sockets open 3 s later: 0
with TLS: connect() ended with TimeoutError, sockets open 3 s later: 1'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

#!/usr/bin/env bash
# Software: aiokafka 0.14.0, Python 3.11
# Behaviour: a broker refuses an OAUTHBEARER token in the answer's bytes, with error code 0 (RFC 7628, section 3.2.2);
#   the client must answer with %x01, and gets error 58 then. aiokafka takes the first answer for success: connect()
#   returns and the log says "Authenticated". Kafka closes the connection at the next request, so clients only see
#   connections that are cut, and never that their token is refused.
#   The broker here is a stand-in that answers as Kafka 4.4 does.
# Output seen:
#   the broker refused the token with {"status":"invalid_token"}
#   aiokafka logged: Authenticated via OAUTHBEARER
#   connected: True, requests of the login after the refusal: 0

set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check aiokafka==0.14.0

cat >"$dir/try.py" <<'PY'
import asyncio, logging, struct

from aiokafka.abc import AbstractTokenProvider
from aiokafka.conn import create_conn

API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
REFUSAL = b'{"status":"invalid_token"}'
logins: list[bytes] = []


def answer_to(key: int) -> bytes:
    if key == API_VERSIONS:
        known = [(API_VERSIONS, 0, 0), (HANDSHAKE, 0, 1), (AUTHENTICATE, 0, 0), (3, 0, 1)]
        return struct.pack(">hi", 0, len(known)) + b"".join(struct.pack(">hhh", *one) for one in known)
    if key == HANDSHAKE:
        return struct.pack(">hih", 0, 1, 11) + b"OAUTHBEARER"
    return struct.pack(">hhi", 0, -1, len(REFUSAL)) + REFUSAL


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            (size,) = struct.unpack(">i", await reader.readexactly(4))
            request = await reader.readexactly(size)
            key, _, correlation = struct.unpack(">hhi", request[:8])
            if key == AUTHENTICATE:
                logins.append(request)
            body = struct.pack(">i", correlation) + answer_to(key)
            writer.write(struct.pack(">i", len(body)) + body)
    except asyncio.IncompleteReadError:
        writer.close()


class Token(AbstractTokenProvider):
    async def token(self) -> str:
        return "expired"


class Show(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print("aiokafka logged:", record.getMessage())


async def main() -> None:
    logging.getLogger("aiokafka").addHandler(Show(logging.INFO))
    logging.getLogger("aiokafka").setLevel(logging.INFO)
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print("the broker refused the token with", REFUSAL.decode())
    connection = await create_conn(
        "127.0.0.1",
        port,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=Token(),
    )
    print(f"connected: {connection.connected()}, requests of the login after the refusal: {len(logins) - 1}")
    await connection.close()
    await asyncio.sleep(0.1)
    server.close()


asyncio.run(main())
PY
seen=$("$dir/venv/bin/python" "$dir/try.py")
printf '%s\n' "$seen"
expected='the broker refused the token with {"status":"invalid_token"}
aiokafka logged: Authenticated via OAUTHBEARER
connected: True, requests of the login after the refusal: 0'
[ "$seen" = "$expected" ] || { echo "the behaviour changed" >&2; exit 1; }

"""Chooses ports for servers that may be killed and started again at the same address."""

from __future__ import annotations

import json
import secrets
import socket
from pathlib import Path

from els_stream.errors import ServersUnavailable

LOOPBACK = "127.0.0.1"
# Below the ephemeral ports: otherwise a client that retries a connection to a killed server could be given the
# server's own port as its local port, and the server could not start again.
FIRST, LAST = 20000, 32000
ATTEMPTS = 200
_given: set[int] = set()


def kept_ports(record: Path, count: int) -> list[int]:
    """Return the recorded ports if they are free, else record and return new ones."""
    ports = recorded_ports(record)
    if len(ports) != count or not all(free(port) for port in ports):
        ports = new_ports(count)
        record.write_text(json.dumps(ports))
    return ports


def recorded_ports(record: Path) -> list[int]:
    try:
        return [int(port) for port in json.loads(record.read_text())]
    except (FileNotFoundError, ValueError, TypeError):
        return []


def free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def answers(host: str, port: int, seconds: float = 1.0) -> bool:
    """Return whether a server accepts connections at this address within `seconds`."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def new_ports(count: int) -> list[int]:
    """Return free ports, none of them twice in this process: a server may not listen on an earlier one yet."""
    found: list[int] = []
    for _ in range(ATTEMPTS):
        port = FIRST + secrets.randbelow(LAST - FIRST)
        if port not in _given and free(port):
            _given.add(port)
            found.append(port)
        if len(found) == count:
            return found
    raise ServersUnavailable(f"no free port between {FIRST} and {LAST} on {LOOPBACK}")

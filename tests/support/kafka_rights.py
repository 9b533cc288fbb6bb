"""Gives users of a broker rights and passwords, as an administrator does."""

from __future__ import annotations

import enum
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.protocol import admin as protocol
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import CompactArray, CompactBytes, CompactString, Int8, Int16, Int32, Schema, TaggedFields

from els_stream.kafka.admin import admin_client
from els_stream.kafka.broker import Broker
from tests.support.waiting import until

_ALLOW: Final = 3
_ANY_HOST: Final = "*"
_SCRAM: Final = {"SCRAM-SHA-256": (1, "sha256"), "SCRAM-SHA-512": (2, "sha512")}
_ITERATIONS: Final = 4096


class Kind(enum.IntEnum):
    """Kafka's codes of resource types."""

    TOPIC = 2
    GROUP = 3
    CLUSTER = 4


class Pattern(enum.IntEnum):
    LITERAL = 3
    PREFIXED = 4


class Right(enum.IntEnum):
    """Kafka's codes of operations."""

    READ = 3
    WRITE = 4
    CREATE = 5
    ALTER = 7
    DESCRIBE = 8
    DESCRIBE_CONFIGS = 10


@dataclass(frozen=True, slots=True)
class Grant:
    """A right of a user on one resource, or on all whose names begin so."""

    user: str
    right: Right
    kind: Kind
    name: str
    pattern: Pattern = Pattern.LITERAL

    def fields(self) -> tuple[int, str, int, str, str, int, int]:
        return self.kind, self.name, self.pattern, f"User:{self.user}", _ANY_HOST, self.right, _ALLOW


async def allow(broker: Broker, *grants: Grant) -> None:
    """Give these rights; returns once the broker applies them, which is after its controller has answered."""
    await _send(broker, *(protocol.CreateAclsRequest(*grant.fields()) for grant in grants))
    await _until(broker, grants, applied=True)


async def withdraw(broker: Broker, *grants: Grant) -> None:
    """Take these rights away; returns once the broker applies none of them."""
    await _send(broker, *(protocol.DeleteAclsRequest(*grant.fields()) for grant in grants))
    await _until(broker, grants, applied=False)


async def set_password(broker: Broker, user: str, password: str) -> None:
    """Set the password of SCRAM; the broker applies it a moment later."""
    await _send(broker, *(AlterPasswordRequest(user, password, mechanism) for mechanism in _SCRAM))


async def _until(broker: Broker, grants: Sequence[Grant], *, applied: bool) -> None:
    """Wait until the broker applies all of these rights, or none of them."""

    async def holds() -> bool:
        answers = await _send(broker, *(protocol.DescribeAclsRequest(*grant.fields()) for grant in grants))
        return all(bool(answer["resources"]) is applied for answer in answers)

    await until(holds)


async def _send(broker: Broker, *requests: object) -> list[dict[str, Any]]:
    """Return the answers; all of them are without an error."""
    answers: list[dict[str, Any]] = []
    async with admin_client(broker) as admin:
        client: Any = admin
        for request in requests:
            answer = (await client._send_to_controller(request)).to_object()
            assert set(_codes(answer)) <= {0}, answer
            answers.append(answer)
    return answers


def _codes(fields: object) -> Iterator[int]:
    """Yield every error code in an answer."""
    if isinstance(fields, Mapping):
        for name, value in fields.items():
            if name == "error_code":
                yield value
            yield from _codes(value)
    elif isinstance(fields, list):
        for entry in fields:
            yield from _codes(entry)


class AlterPasswordResponse(Response):
    API_KEY = 51
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "results",
            CompactArray(
                ("user", CompactString("utf-8")),
                ("error_code", Int16),
                ("error_message", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterPasswordStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 51
    API_VERSION = 0
    RESPONSE_TYPE = AlterPasswordResponse
    SCHEMA = Schema(
        (
            "deletions",
            CompactArray(("name", CompactString("utf-8")), ("mechanism", Int8), ("tags", TaggedFields)),
        ),
        (
            "upsertions",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("mechanism", Int8),
                ("iterations", Int32),
                ("salt", CompactBytes),
                ("salted_password", CompactBytes),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class AlterPasswordRequest(Request[AlterPasswordStruct]):
    """Kafka's AlterUserScramCredentials (KIP-554) for one user and mechanism."""

    API_KEY = 51

    def __init__(self, user: str, password: str, mechanism: str) -> None:
        code, digest = _SCRAM[mechanism]
        salt = os.urandom(16)
        salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, _ITERATIONS)
        self._upsertion = (user, code, _ITERATIONS, salt, salted, dict[int, bytes]())

    def build(self, request_struct_class: type[AlterPasswordStruct]) -> AlterPasswordStruct:
        return request_struct_class([], [self._upsertion], {})

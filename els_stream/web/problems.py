"""Errors of the API as RFC 9457 problem details: a code for programs, a text for people, an id to find in the log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from uuid import UUID

from aiohttp import web


class ProblemCode(StrEnum):
    """Codes that programs may rely on; the detail may change."""

    BAD_REQUEST = "bad_request"
    CROSS_ORIGIN = "cross_origin"
    DATABASE = "database_unreachable"
    FOREIGN_HOST = "foreign_host"
    HTTP = "http_error"
    INTERNAL = "internal_error"
    NOT_FOUND = "not_found"
    NOT_REPLAYABLE = "not_replayable"
    UNAUTHENTICATED = "unauthenticated"


class Problem(Exception):
    """An error that is sent to the client as it is: its detail contains no secret and no student data."""

    def __init__(
        self, status: HTTPStatus, code: ProblemCode, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.headers = headers or {}

    def response(self, correlation_id: UUID) -> web.Response:
        body = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": str(self),
            "code": self.code.value,
            "correlation_id": str(correlation_id),
        }
        return web.Response(
            text=json.dumps(body), status=self.status, content_type="application/problem+json", headers=self.headers
        )


def bad_request(detail: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, ProblemCode.BAD_REQUEST, detail)


def not_found(detail: str) -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, ProblemCode.NOT_FOUND, detail)

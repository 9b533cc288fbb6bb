"""Middleware around every answer of the web server: access, errors as problem details, security headers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final
from uuid import UUID, uuid4

import structlog
from aiohttp import web

from els_stream.db.errors import DATABASE_ERRORS, classify
from els_stream.web.auth import Access, RequestInfo
from els_stream.web.problems import Problem, ProblemCode, not_found

CORRELATION_HEADER: Final = "X-Correlation-ID"
# Load nothing from another host, run nothing inline, and never parse text as markup.
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

UNEXPECTED: Final = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    ProblemCode.INTERNAL,
    "an unexpected error: the worker's log has the details under this correlation id",
)

log = structlog.get_logger(__name__)


def install_middleware(app: web.Application, access: Access) -> None:
    """Add the middleware to all routes of `app`, and to its answers for paths that have no route."""

    @web.middleware
    async def middleware(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        correlation_id = correlation_id_of(request)
        with structlog.contextvars.bound_contextvars(correlation_id=str(correlation_id)):
            try:
                access.check(RequestInfo(request.method, request.path, request.host, request.headers))
                response = await handler(request)
            except (Problem, web.HTTPException, *DATABASE_ERRORS) as error:
                response = problem_of(error).response(correlation_id)
            except Exception:
                log.exception("a request failed with an unexpected error")
                response = UNEXPECTED.response(correlation_id)
        response.headers.update(SECURITY_HEADERS)
        response.headers[CORRELATION_HEADER] = str(correlation_id)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    app.middlewares.append(middleware)


def correlation_id_of(request: web.Request) -> UUID:
    """Return the client's correlation id, or a new one if the client sent none or no UUID."""
    try:
        return UUID(request.headers.get(CORRELATION_HEADER, ""))
    except ValueError:
        return uuid4()


def problem_of(error: BaseException) -> Problem:
    """Return the problem for an expected error of a handler.

    For a database error it shows only the error code, since the driver's message may contain data.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, web.HTTPNotFound):
        return not_found("there is no such page")
    if isinstance(error, web.HTTPException):
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return Problem(HTTPStatus(error.status), ProblemCode.HTTP, error.reason, allowed)
    cause = classify(error).cause
    log.warning("the database did not answer a request", cause=cause)
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, ProblemCode.DATABASE, f"the database does not answer: {cause}")

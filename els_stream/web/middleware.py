"""Around every answer of the web server: who may ask, what an error looks like, and what a browser may do with it."""

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

CORRELATION: Final = "X-Correlation-ID"
# Nothing of another host, nothing inline, and text never becomes markup.
HEADERS: Final = {
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

UNFORESEEN: Final = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR, ProblemCode.INTERNAL, "unforeseen: the worker's log tells more under this id"
)

log = structlog.get_logger(__name__)


def shield(app: web.Application, access: Access) -> None:
    """For all routes of the application, those that it does not have too."""

    @web.middleware
    async def around(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        correlation_id = correlation_of(request)
        with structlog.contextvars.bound_contextvars(correlation_id=str(correlation_id)):
            try:
                access.check(RequestInfo(request.method, request.path, request.host, request.headers))
                response = await handler(request)
            except (Problem, web.HTTPException, *DATABASE_ERRORS) as error:
                response = problem_of(error).response(correlation_id)
            except Exception:
                log.exception("a page failed for an unforeseen reason")
                response = UNFORESEEN.response(correlation_id)
        response.headers.update(HEADERS)
        response.headers[CORRELATION] = str(correlation_id)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    app.middlewares.append(around)


def correlation_of(request: web.Request) -> UUID:
    """The caller's, where it is one."""
    try:
        return UUID(request.headers.get(CORRELATION, ""))
    except ValueError:
        return uuid4()


def problem_of(error: BaseException) -> Problem:
    """Whatever a handler raised and somebody foresaw; the driver's own words may quote data, so its code is told."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, web.HTTPNotFound):
        return not_found("there is no such page")
    if isinstance(error, web.HTTPException):
        allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return Problem(HTTPStatus(error.status), ProblemCode.HTTP, error.reason, allowed)
    cause = classify(error).cause
    log.warning("the database did not answer a page", cause=cause)
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, ProblemCode.DATABASE, f"the database does not answer: {cause}")

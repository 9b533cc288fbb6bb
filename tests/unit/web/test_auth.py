"""Access to the web server by host, token and origin."""

from __future__ import annotations

import base64

import pytest

from els_stream.config.settings import Settings
from els_stream.errors import ConfigurationError
from els_stream.web.auth import Access, RequestInfo
from els_stream.web.problems import Problem

TOKEN = "a-token-of-enough-length"
HERE = "127.0.0.1:6066"


def status_of(access: Access, method: str = "GET", path: str = "/api/status", host: str = HERE, **headers: str) -> int:
    try:
        access.check(
            RequestInfo(method, path, host, {name.replace("_", "-"): value for name, value in headers.items()})
        )
    except Problem as problem:
        return int(problem.status)
    return 200


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_loopback_needs_no_token(host: str) -> None:
    assert status_of(Access.of(Settings(web_host=host))) == 200


@pytest.mark.parametrize("host", ["192.0.2.1", "::", "10.0.0.7", "els.example", "localhost.example"])
def test_a_worker_outside_loopback_does_not_start_without_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"set ELS_WEB_TOKEN"):
        Access.of(Settings(web_host=host))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:6066", 200),
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("els.localhost:6066", 200),
        ("evil.example:6066", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[", 421),
    ],
)
def test_a_foreign_host_name_that_resolves_to_loopback_is_rejected(host: str, status: int) -> None:
    assert status_of(Access(lambda: None), host=host) == status


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_and_metrics_need_no_token(path: str) -> None:
    assert status_of(Access(lambda: TOKEN), path=path, host="els.example") == 200
    assert status_of(Access(lambda: None), path=path, host="els.example") == 200


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/api/status", "/livez/", "/nothing"])
@pytest.mark.parametrize(
    "header",
    ["", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"Token {TOKEN}", basic("no"), "Basic %"],
)
def test_everything_else_needs_the_token(path: str, header: str) -> None:
    assert status_of(Access(lambda: TOKEN), path=path, Authorization=header) == 401


@pytest.mark.parametrize("header", [f"Bearer {TOKEN}", f"bearer {TOKEN}", basic(TOKEN)])
def test_a_request_with_the_token_may_use_any_host(header: str) -> None:
    assert status_of(Access(lambda: TOKEN), host="els.example", Authorization=header) == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": f"http://{HERE}"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": f"http://{HERE}"}, 200),
        ({"Origin": "http://localhost:6067"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": f"http://{HERE}"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
    ],
)
def test_changes_are_accepted_only_from_the_page_itself(headers: dict[str, str], status: int) -> None:
    assert status_of(Access(lambda: None), "POST", **headers) == status
    # A browser sends the Basic password by itself, so it does not prove that the user wants the change.
    assert status_of(Access(lambda: TOKEN), "POST", **headers, Authorization=basic(TOKEN)) == status


def test_changes_are_accepted_with_the_token_as_bearer() -> None:
    assert status_of(Access(lambda: TOKEN), "POST", Authorization=f"Bearer {TOKEN}") == 200
    assert status_of(Access(lambda: None), "POST", Authorization=f"Bearer {TOKEN}") == 403

"""Tokens are kept for most of their life, and the endpoint is not asked more than once a second."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from els_stream.embedded.certificates import Authority
from els_stream.kafka.broker import TokenLogin
from els_stream.kafka.broker_errors import TokenUnavailable
from els_stream.kafka.oauth import TokenSource
from tests.support.token_endpoint import TokenEndpoint, token_endpoint


@pytest.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[TokenEndpoint]:
    authority = Authority(tmp_path)
    async with token_endpoint(authority.issue("id"), "frizzle", "s3cret:of els") as started:
        yield started


def login(endpoint: TokenEndpoint, tmp_path: Path) -> TokenLogin:
    """Return the login with the client's secret of now."""
    secret = endpoint.client_secret
    return TokenLogin(endpoint.url, endpoint.client_id, lambda: secret, ca_file=tmp_path / "ca.pem")


async def test_a_token_is_kept(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    source = TokenSource(login(endpoint, tmp_path))

    tokens = {await source.token() for _ in range(3)}

    assert len(tokens) == 1
    assert endpoint.issued == 1


async def test_a_token_that_the_broker_refused_is_not_asked_for_at_once(
    endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    source = TokenSource(login(endpoint, tmp_path))
    await source.token()
    source.forget()

    await source.token()

    assert endpoint.issued == 1


async def test_a_refusal_is_one_line_without_the_secret(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    source = TokenSource(login(endpoint, tmp_path))
    endpoint.client_secret = "another"

    with pytest.raises(TokenUnavailable) as caught:
        await source.token()

    assert caught.value.args == (f"the token endpoint {endpoint.url} answered 401: invalid_client",)


async def test_an_endpoint_that_is_away_is_named() -> None:
    source = TokenSource(TokenLogin("http://127.0.0.1:1/token", "els", lambda: "s3cret"))

    with pytest.raises(TokenUnavailable, match=r"the token endpoint http://127\.0\.0\.1:1/token can't be reached"):
        await source.token()

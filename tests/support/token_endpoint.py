"""An OAuth 2 token endpoint for the client credentials grant; its tokens are not signed."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import quote_plus

from aiohttp import web

from els_stream.embedded.certificates import Certificate


@dataclass
class TokenEndpoint:
    """The user of the tokens, and how it answers."""

    client_id: str
    client_secret: str
    user: str
    url: str = ""
    answers: bool = True
    expired: bool = False
    lifetime_seconds: int = 60
    issued: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        form = await request.post()
        account = base64.b64encode(f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}".encode()).decode()
        known = request.headers["Authorization"] == f"Basic {account}"
        if not (self.answers and known and form["grant_type"] == "client_credentials"):
            return web.json_response({"error": "invalid_client"}, status=401)
        self.issued += 1
        lifetime = -60 if self.expired else self.lifetime_seconds
        return web.json_response({"access_token": unsigned(self.user, lifetime), "expires_in": self.lifetime_seconds})


def unsigned(user: str, lifetime_seconds: int) -> str:
    """Return a token; times in whole seconds, since brokers accept none that lies ahead."""
    now = int(time.time())
    claims = {"sub": user, "iat": now + min(lifetime_seconds, 0) - 1, "exp": now + lifetime_seconds}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "none"}, claims)]
    return b".".join(parts).decode() + "."


@asynccontextmanager
async def token_endpoint(certificate: Certificate, user: str, secret: str) -> AsyncIterator[TokenEndpoint]:
    """Serve it over TLS on a free port of loopback."""
    endpoint = TokenEndpoint("els-client", secret, user)
    app = web.Application()
    app.router.add_post("/token", endpoint.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.chain, certificate.key)
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        endpoint.url = f"https://127.0.0.1:{runner.addresses[0][1]}/token"
        yield endpoint
    finally:
        await runner.cleanup()

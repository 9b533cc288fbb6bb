"""`/livez`, `/readyz` and `/metrics`. Probes answer 200, or 503 with the reasons. None of the three does I/O."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import faust
from faust.web import Request, Response, View
from prometheus_client.exposition import choose_encoder

from els_stream.config.settings import Settings
from els_stream.observability.health import Health, Reason
from els_stream.observability.metrics import Metrics

OK: Final = 200
UNAVAILABLE: Final = 503
UNCACHED: Final = {"Cache-Control": "no-store"}


def web_options(settings: Settings) -> dict[str, Any]:
    """Return Faust's settings for its web server. Faust's own pages are off, and so is debug, which adds more."""
    return {
        "debug": False,
        "web_enabled": True,
        "web_bind": settings.web_host,
        "web_host": settings.web_host,
        "web_port": settings.web_port,
        "web_router_enabled": False,
        "web_tables_enabled": False,
        "web_stats_enabled": False,
        "web_graph_enabled": False,
        "web_metrics_enabled": False,
    }


def register_probes(app: faust.App, health: Health, metrics: Metrics) -> None:
    """Add the routes. Call it before the worker starts: a running server takes no new routes."""

    @app.page("/livez", name="livez")
    async def livez(view: View, _: Request) -> Response:
        return health_response(view, health.not_alive())

    @app.page("/readyz", name="readyz")
    async def readyz(view: View, _: Request) -> Response:
        return health_response(view, health.not_ready())

    @app.page("/metrics", name="metrics")
    async def show_metrics(view: View, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return view.bytes(encode(metrics.registry), headers={**UNCACHED, "Content-Type": content_type})


def health_response(view: View, reasons: Sequence[Reason]) -> Response:
    body = {
        "status": "unavailable" if reasons else "ok",
        "reasons": [{"code": reason.code.value, "detail": reason.detail} for reason in reasons],
    }
    return view.json(body, status=UNAVAILABLE if reasons else OK, headers=UNCACHED)

"""Serve the dashboard page at `/` and its files below `/page/`: all are part of this package, none of another host."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web

PAGE_FOLDER: Final = Path(__file__).with_name("page")
CONTENT_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def add_static_files(app: web.Application) -> None:
    for path in sorted(PAGE_FOLDER.iterdir()):
        route = "/" if path.name == "index.html" else f"/page/{path.name}"
        app.router.add_get(route, partial(_serve, path))


async def _serve(path: Path, _: web.Request) -> web.FileResponse:
    """A browser may keep the file, but must ask each time whether it changed."""
    content_type = f"{CONTENT_TYPES[path.suffix]}; charset=utf-8"
    return web.FileResponse(path, headers={"Content-Type": content_type, "Cache-Control": "no-cache"})

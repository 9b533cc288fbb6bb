"""The page at `/` and what it is made of: files of this package, and none of another host."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from aiohttp import web

FOLDER: Final = Path(__file__).with_name("page")
KINDS: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class StaticFile:
    """Read once; a browser asks again each time and is told that it has it."""

    def __init__(self, path: Path) -> None:
        self._body = path.read_bytes()
        self._kind = KINDS[path.suffix]
        self._tag = hashlib.sha256(self._body).hexdigest()[:32]

    async def __call__(self, request: web.Request) -> web.Response:
        headers = {"ETag": f'"{self._tag}"', "Cache-Control": "no-cache"}
        known = {tag.value for tag in request.if_none_match or ()}
        if self._tag in known:
            return web.Response(status=304, headers=headers)
        return web.Response(body=self._body, content_type=self._kind, charset="utf-8", headers=headers)


def add_pages(app: web.Application) -> None:
    for path in sorted(FOLDER.iterdir()):
        route = "/" if path.name == "index.html" else f"/page/{path.name}"
        app.router.add_get(route, StaticFile(path).__call__)

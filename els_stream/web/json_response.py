"""Answers of the JSON API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import web


def json_response(body: Mapping[str, object]) -> web.Response:
    """Answer with `body` and the worker's time as `at`."""
    stamped = {**body, "at": datetime.now(UTC)}
    return web.json_response(text=json.dumps(stamped, default=_encode, ensure_ascii=False, separators=(",", ":")))


def _encode(value: object) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)

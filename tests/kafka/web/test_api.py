"""The page and its JSON, asked of a real worker process."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import aiohttp
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from yarl import URL

from els_stream.embedded.servers import Addresses, EmbeddedServers
from els_stream.events.topics import BATCH_REGISTERED, CONTENT_PROVISIONED, VALIDATION_FAILED
from tests.support import factories
from tests.support.cli import els
from tests.support.worker_process import Worker, running_worker, send, until

HOSTILE_IDS = ["a/b", "..//", "50%", "%2F", "?state=open#x", "<script>alert(1)</script>", "ö 😀", "a\nb", "newest"]
HOSTILE_NAME = '<img src="x" onerror="alert(1)">.docx'
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}
EVERYWHERE = str(IPv4Address(0))
TOKEN = "long-enough-for-a-token"


@pytest.fixture
async def worker(
    addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str], tmp_path: Path
) -> AsyncIterator[Worker]:
    assert kafka_topics
    async with running_worker(addresses, database, topic_prefix, tmp_path / "worker.log") as worker:
        yield worker


async def ask(worker: Worker, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, Any]]:
    url = URL(worker.url + path, encoded=True)
    async with worker.http.request(method, url, headers=headers) as response:
        body: dict[str, Any] = json.loads(await response.text())
        return response.status, body


async def first(worker: Worker, path: str, within: str) -> dict[str, Any]:
    """The first of a list, as soon as there is one."""

    async def there() -> bool:
        return bool((await ask(worker, path))[1][within])

    await until(there)
    found: dict[str, Any] = (await ask(worker, path))[1][within][0]
    return found


async def test_a_batch_is_listed_and_its_story_told(worker: Worker, addresses: Addresses, topic_prefix: str) -> None:
    async def complete() -> bool:
        found = await first(worker, "/api/batches", "batches")
        return str(found["state"]) == "completed"

    async def told() -> bool:
        story = (await ask(worker, f"/api/batches/{factories.BATCH}"))[1]
        return story["waits_for"] == "nothing" and "excess" in {moment["what"] for moment in story["timeline"]}

    await send(
        addresses,
        topic_prefix,
        (BATCH_REGISTERED, factories.registration(essays=2)),
        (CONTENT_PROVISIONED, factories.content(number=0, original_file_name=HOSTILE_NAME)),
        (VALIDATION_FAILED, factories.failure(number=1)),
    )
    await until(complete)
    # Only now: topics are handled in no order, and it must find the batch full.
    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, factories.content(number=2)))
    await until(told)

    status, page = await ask(worker, "/api/batches?state=completed&class_type=GUEST&younger_than=1h")
    assert (status, page["next"]) == (200, None)
    assert [(b["batch_id"], b["filled"], b["failed"], b["free"]) for b in page["batches"]] == [
        (factories.BATCH, 1, 1, 0)
    ]
    assert "ms-frizzle" not in json.dumps(page)
    _, story = await ask(worker, f"/api/batches/{factories.BATCH}")
    assert story["timeline"][0]["what"] == "registered"
    assert {(m["what"], m["file_name"]) for m in story["timeline"] if m["file_name"]} == {
        ("filled", HOSTILE_NAME),
        ("failed", factories.file_name(1)),
        ("excess", factories.file_name(2)),
    }
    assert {event["delivery"] for moment in story["timeline"] for event in moment["events"]} == {"sent"}


async def test_pages_follow_each_other_and_ids_hold_any_character(worker: Worker, engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        for batch_id in HOSTILE_IDS:
            await conn.execute(text("INSERT INTO batch_essay_trackers (batch_id) VALUES (:id)"), {"id": batch_id})

    found = [(await ask(worker, "/api/batches/" + quote(batch_id, safe="")))[1] for batch_id in HOSTILE_IDS]

    assert [story.get("batch_id") for story in found] == HOSTILE_IDS
    assert [(await ask(worker, f"/api/batches/{path}"))[0] for path in ("%00", "%ff", "x" * 256, "none")] == [404] * 4
    seen: list[str] = []
    path = "/api/batches?limit=2"
    while path:
        _, page = await ask(worker, path)
        seen += [batch["batch_id"] for batch in page["batches"]]
        path = f"/api/batches?limit=2&cursor={page['next']}" if page["next"] else ""
    assert sorted(seen) == sorted(HOSTILE_IDS)


async def test_what_goes_wrong_is_told_as_problem_details(worker: Worker) -> None:
    asked = "5f4b1c52-7d3a-4f0e-8a53-0d6f5a4c3b2a"
    async with worker.http.get(worker.url + "/api/batches?state=lost", headers={"X-Correlation-ID": asked}) as response:
        problem = json.loads(await response.text())
        assert response.headers["X-Correlation-ID"] == asked
        assert response.content_type == "application/problem+json"
    assert problem["correlation_id"] == asked
    assert (problem["status"], problem["code"], problem["title"]) == (400, "bad_request", "Bad Request")

    assert UUID((await ask(worker, "/nothing"))[1]["correlation_id"]).version == 4
    assert await codes(worker, "/nothing", "/api/dead-letters/1", "/api/dead-letters/x") == ["not_found"] * 3
    assert await codes(worker, "/api/batches?cursor=x", "/api/dead-letters?limit=0") == ["bad_request"] * 2
    assert (await ask(worker, "/api/status", "PUT", **SAME_ORIGIN))[0] == 405
    assert (await ask(worker, "/api/status", Host="evil.example"))[1]["code"] == "foreign_host"
    assert (await worker.get("/livez", Host="evil.example"))[0] == 200


async def codes(worker: Worker, *paths: str) -> list[str]:
    return [(await ask(worker, path))[1]["code"] for path in paths]


async def test_a_dead_letter_is_shown_and_replayed_once(
    worker: Worker, engine: AsyncEngine, addresses: Addresses, topic_prefix: str
) -> None:
    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, b"not JSON \xff\x1b[2J"))
    letter = await first(worker, "/api/dead-letters?reason=not_json", "dead_letters")
    path = f"/api/dead-letters/{letter['id']}"

    _, whole = await ask(worker, path)
    assert whole["value"] == "not JSON \\xff\\x1b[2J"
    assert whole["replayable"]
    assert (await ask(worker, path + "/replay", "POST"))[1]["code"] == "cross_origin"
    assert (await ask(worker, path + "/replay", "POST", Origin="http://evil.example"))[1]["code"] == "cross_origin"

    async with engine.begin() as conn:
        value = factories.content(number=1)
        await conn.execute(text("UPDATE dead_letters SET value = :value"), {"value": value})
    status, replayed = await ask(worker, path + "/replay", "POST", **SAME_ORIGIN)

    assert (status, replayed["outcome"]) == (200, "pending")
    status, again = await ask(worker, path + "/replay", "POST", **SAME_ORIGIN)
    assert (status, again["code"]) == (409, "not_replayable")
    assert (await ask(worker, "/api/dead-letters/999/replay", "POST", **SAME_ORIGIN))[0] == 404
    assert (await ask(worker, "/api/dead-letters?state=open"))[1]["dead_letters"] == []

    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, b"still not JSON"))
    letter = await first(worker, "/api/dead-letters?state=open", "dead_letters")
    _, replayed = await ask(worker, f"/api/dead-letters/{letter['id']}/replay", "POST", **SAME_ORIGIN)
    assert replayed["outcome"] == "failed_again"
    (other,) = (await ask(worker, "/api/dead-letters?state=open"))[1]["dead_letters"]
    assert other["replay_of"] == letter["id"]


async def test_status_tells_who_answers_and_how_the_service_is(worker: Worker, topic_prefix: str) -> None:
    async def known() -> bool:
        return bool((await ask(worker, "/api/status"))[1]["ledger"])

    await until(known)
    _, status = await ask(worker, "/api/status")

    assert status["worker"]["pid"] == worker.process.pid
    assert status["not_ready"] == []
    assert status["relay"]["relays"] in {0, 1}
    assert topic_prefix + CONTENT_PROVISIONED in {place["topic"] for place in status["ledger"]}
    assert status["figures"]["active"] == {"GUEST": 0, "REGULAR": 0}
    assert status["retention"] == {"enabled": True, "guest_days": 14, "interval_hours": 24}
    assert (await ask(worker, "/api/history"))[1]["step_seconds"] == 5


async def test_els_watch_shows_what_a_worker_says_of_itself(
    worker: Worker, addresses: Addresses, database: str, tmp_path: Path
) -> None:
    named = {"ELS_BROKER_URL": addresses.broker, "ELS_DATABASE_URL": database, "ELS_STATE_DIR": str(tmp_path)}

    shown = await els(named, "watch", "--once", "--url", worker.url)

    assert shown.exit_code == 0, shown.output
    assert f"process {worker.process.pid}" in shown.stdout
    assert "acknowledged" in shown.stdout


async def test_the_page_is_served_whole_and_shielded(worker: Worker) -> None:
    async with worker.http.get(worker.url + "/") as response:
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
        tag = response.headers["ETag"]
    assert "unsafe" not in policy
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "<style" not in page
    assert " style=" not in page
    assert "http://" not in page
    assert "https://" not in page
    async with worker.http.get(worker.url + "/", headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    served = [await worker.get(f"/page/{name}") for name in ("main.js", "page.css", "icon.svg")]
    assert [kind.partition(";")[0] for _, kind, _ in served] == ["text/javascript", "text/css", "image/svg+xml"]
    assert (await worker.get("/page/../web/api.py"))[0] == 404


async def test_an_outage_of_the_database_is_told_and_status_answers_at_once(
    worker: Worker, servers: EmbeddedServers
) -> None:
    async def said() -> bool:
        return "database_unreachable" in [
            reason["code"] for reason in (await ask(worker, "/api/status"))[1]["not_ready"]
        ]

    servers.postgres.pause()
    try:
        status, problem = await ask(worker, "/api/batches")
        assert (status, problem["code"]) == (503, "database_unreachable")
        await until(said, seconds=10)
        started = time.monotonic()
        assert (await ask(worker, "/api/status"))[0] == 200
        assert time.monotonic() - started < 1
    finally:
        servers.postgres.resume()

    async def answers() -> bool:
        return (await ask(worker, "/api/batches"))[0] == 200

    await until(answers)


async def test_with_a_token_everything_but_probes_and_metrics_needs_it(
    addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str], tmp_path: Path
) -> None:
    assert kafka_topics
    beyond = {"ELS_WEB_HOST": EVERYWHERE, "ELS_WEB_TOKEN": TOKEN}
    async with running_worker(addresses, database, topic_prefix, tmp_path / "worker.log", **beyond) as worker:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await worker.get(path))[0] == 200
        for path in ("/", "/page/main.js", "/api/status", "/api/batches/x", "/nothing"):
            status, problem = await ask(worker, path)
            assert (status, problem["code"]) == (401, "unauthenticated")
        assert (await ask(worker, "/api/status", Authorization=f"Bearer {TOKEN}x"))[0] == 401
        assert (await ask(worker, "/api/status", Authorization=f"Bearer {TOKEN}"))[0] == 200
        async with worker.http.get(
            worker.url + "/", headers={"Authorization": aiohttp.encode_basic_auth("anybody", TOKEN)}
        ) as response:
            assert response.status == 200
        assert TOKEN not in (tmp_path / "worker.log").read_text()


async def test_a_worker_beyond_loopback_without_a_token_ends_with_2(
    addresses: Addresses, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"BROKER_URL": addresses.broker, "DATABASE_URL": database, "WEB_HOST": EVERYWHERE}.items():
        monkeypatch.setenv(f"ELS_{name}", value)
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "els_stream", "worker", stderr=asyncio.subprocess.PIPE
    )

    _, said = await asyncio.wait_for(command.communicate(), 20)

    assert command.returncode == 2
    assert said.decode().splitlines()[-1].startswith("els: ELS_WEB_HOST=0.0.0.0 is beyond loopback: set ELS_WEB_TOKEN")

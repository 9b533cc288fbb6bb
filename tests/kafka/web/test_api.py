"""The page and the JSON API of a real worker process."""

from __future__ import annotations

import asyncio
import json
import sys
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
ALL_INTERFACES = str(IPv4Address(0))
TOKEN = "long-enough-for-a-token"
WRONG_REASONS = ("/api/dead-letters?reason=%00", "/api/dead-letters?reason=lost", "/api/dead-letters?reason=")


async def request(worker: Worker, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, Any]]:
    url = URL(worker.url + path, encoded=True)
    async with worker.http.request(method, url, headers=headers) as response:
        body: dict[str, Any] = json.loads(await response.text())
        return response.status, body


async def first(worker: Worker, path: str, key: str) -> dict[str, Any]:
    """Return the first of a list, as soon as it has one."""

    async def there() -> bool:
        return bool((await request(worker, path))[1][key])

    await until(there)
    found: dict[str, Any] = (await request(worker, path))[1][key][0]
    return found


async def test_a_batch_is_listed_and_shown_in_detail(worker: Worker, addresses: Addresses, topic_prefix: str) -> None:
    async def complete() -> bool:
        found = await first(worker, "/api/batches", "batches")
        return str(found["state"]) == "completed"

    async def all_published() -> bool:
        batch = (await request(worker, f"/api/batches/{factories.BATCH}"))[1]
        return batch["waits_for"] == "nothing" and "excess" in {moment["kind"] for moment in batch["timeline"]}

    await send(
        addresses,
        topic_prefix,
        (BATCH_REGISTERED, factories.registration(essays=2)),
        (CONTENT_PROVISIONED, factories.content(number=0, original_file_name=HOSTILE_NAME)),
        (VALIDATION_FAILED, factories.failure(number=1)),
    )
    await until(complete)
    # Sent only now: topics are processed in any order, and this content must find the batch full.
    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, factories.content(number=2)))
    await until(all_published)

    status, page = await request(worker, "/api/batches?state=completed&class_type=GUEST&younger_than=1h")
    assert (status, page["next"]) == (200, None)
    assert [(b["batch_id"], b["filled"], b["failed"], b["free"]) for b in page["batches"]] == [
        (factories.BATCH, 1, 1, 0)
    ]
    assert "ms-frizzle" not in json.dumps(page)
    _, batch = await request(worker, f"/api/batches/{factories.BATCH}")
    assert batch["timeline"][0]["kind"] == "registered"
    assert {(m["kind"], m["file_name"]) for m in batch["timeline"] if m["file_name"]} == {
        ("filled", HOSTILE_NAME),
        ("failed", factories.file_name(1)),
        ("excess", factories.file_name(2)),
    }
    assert {event["delivery"] for moment in batch["timeline"] for event in moment["events"]} == {"published"}


async def test_batches_are_listed_by_page_and_ids_may_contain_any_character(
    worker: Worker, engine: AsyncEngine
) -> None:
    async with engine.begin() as conn:
        for batch_id in HOSTILE_IDS:
            await conn.execute(text("INSERT INTO batch_essay_trackers (batch_id) VALUES (:id)"), {"id": batch_id})

    found = [(await request(worker, "/api/batches/" + quote(batch_id, safe="")))[1] for batch_id in HOSTILE_IDS]

    assert [batch.get("batch_id") for batch in found] == HOSTILE_IDS
    assert [(await request(worker, f"/api/batches/{path}"))[0] for path in ("%00", "%ff", "x" * 256, "none")] == [
        404
    ] * 4
    listed: list[str] = []
    path = "/api/batches?limit=2"
    while path:
        _, page = await request(worker, path)
        listed += [batch["batch_id"] for batch in page["batches"]]
        path = f"/api/batches?limit=2&cursor={page['next']}" if page["next"] else ""
    assert sorted(listed) == sorted(HOSTILE_IDS)


async def test_errors_are_problem_details(worker: Worker) -> None:
    correlation_id = "5f4b1c52-7d3a-4f0e-8a53-0d6f5a4c3b2a"
    async with worker.http.get(
        worker.url + "/api/batches?state=lost", headers={"X-Correlation-ID": correlation_id}
    ) as response:
        problem = json.loads(await response.text())
        assert response.headers["X-Correlation-ID"] == correlation_id
        assert response.content_type == "application/problem+json"
    assert problem["correlation_id"] == correlation_id
    assert (problem["status"], problem["code"], problem["title"]) == (400, "bad_request", "Bad Request")

    assert UUID((await request(worker, "/nothing"))[1]["correlation_id"]).version == 4
    assert await codes(worker, "/nothing", "/api/dead-letters/1", "/api/dead-letters/x") == ["not_found"] * 3
    wrong = ("/api/batches?cursor=x", "/api/dead-letters?limit=0", *WRONG_REASONS)
    assert await codes(worker, *wrong) == ["bad_request"] * len(wrong)
    assert (await request(worker, "/api/status", "PUT", **SAME_ORIGIN))[0] == 405
    assert (await request(worker, "/api/status", Host="evil.example"))[1]["code"] == "foreign_host"
    assert (await worker.get("/livez", Host="evil.example"))[0] == 200


async def test_dead_letters_of_a_newer_release_are_selected_by_their_reason(
    worker: Worker, engine: AsyncEngine, addresses: Addresses, topic_prefix: str
) -> None:
    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, b"not JSON"))
    known = await first(worker, "/api/dead-letters", "dead_letters")
    async with engine.begin() as conn:
        await conn.execute(text("UPDATE dead_letters SET reason = 'written_backwards'"))

    (found,) = (await request(worker, "/api/dead-letters?reason=written_backwards"))[1]["dead_letters"]

    assert found["id"] == known["id"]
    group = f"reason=written_backwards&topic={CONTENT_PROVISIONED}&last={known['id']}"
    _, replayed = await request(worker, f"/api/dead-letter-groups/replay?{group}", "POST", **SAME_ORIGIN)
    assert replayed["outcomes"] == {"failed_again": 1}


async def codes(worker: Worker, *paths: str) -> list[str]:
    return [(await request(worker, path))[1]["code"] for path in paths]


async def test_a_dead_letter_is_shown_and_replayed_once(
    worker: Worker, engine: AsyncEngine, addresses: Addresses, topic_prefix: str
) -> None:
    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, b"not JSON \xff\x1b[2J"))
    dead_letter = await first(worker, "/api/dead-letters?reason=not_json", "dead_letters")
    path = f"/api/dead-letters/{dead_letter['id']}"

    _, shown = await request(worker, path)
    assert shown["value"] == "not JSON \\xff\\x1b[2J"
    assert shown["replayable"]
    assert (await request(worker, path + "/replay", "POST"))[1]["code"] == "cross_origin"
    assert (await request(worker, path + "/replay", "POST", Origin="http://evil.example"))[1]["code"] == "cross_origin"

    async with engine.begin() as conn:
        value = factories.content(number=1)
        await conn.execute(text("UPDATE dead_letters SET value = :value"), {"value": value})
    status, replayed = await request(worker, path + "/replay", "POST", **SAME_ORIGIN)

    assert (status, replayed["outcome"]) == (200, "pending")
    status, again = await request(worker, path + "/replay", "POST", **SAME_ORIGIN)
    assert (status, again["code"]) == (409, "not_replayable")
    assert (await request(worker, "/api/dead-letters/999/replay", "POST", **SAME_ORIGIN))[0] == 404
    assert (await request(worker, "/api/dead-letters?state=open"))[1]["dead_letters"] == []

    await send(addresses, topic_prefix, (CONTENT_PROVISIONED, b"still not JSON"))
    dead_letter = await first(worker, "/api/dead-letters?state=open", "dead_letters")
    _, replayed = await request(worker, f"/api/dead-letters/{dead_letter['id']}/replay", "POST", **SAME_ORIGIN)
    assert replayed["outcome"] == "failed_again"
    (other,) = (await request(worker, "/api/dead-letters?state=open"))[1]["dead_letters"]
    assert other["replay_of"] == dead_letter["id"]


async def test_status_names_the_worker_and_shows_the_state_of_the_service(worker: Worker, topic_prefix: str) -> None:
    async def known() -> bool:
        return bool((await request(worker, "/api/status"))[1]["offsets"])

    await until(known)
    _, status = await request(worker, "/api/status")

    assert status["worker"]["pid"] == worker.process.pid
    assert status["not_ready"] == []
    assert status["relay"]["members"] in {0, 1}
    assert topic_prefix + CONTENT_PROVISIONED in {stored["topic"] for stored in status["offsets"]}
    assert status["stats"]["active"] == {"GUEST": 0, "REGULAR": 0}
    assert status["retention"] == {"enabled": True, "guest_days": 14, "interval_hours": 24}
    assert (await request(worker, "/api/history"))[1]["interval_seconds"] == 5


async def test_els_watch_shows_the_state_of_a_worker(
    worker: Worker, addresses: Addresses, database: str, tmp_path: Path
) -> None:
    environment = {"ELS_BROKER_URL": addresses.broker, "ELS_DATABASE_URL": database, "ELS_STATE_DIR": str(tmp_path)}

    shown = await els(environment, "watch", "--once", "--url", worker.url)

    assert shown.exit_code == 0, shown.output
    assert f"process {worker.process.pid}" in shown.stdout
    assert " published, " in shown.stdout


async def test_the_page_and_its_files_are_served_with_security_headers(worker: Worker) -> None:
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


async def test_in_a_database_outage_status_still_answers_and_names_it(worker: Worker, servers: EmbeddedServers) -> None:
    async def outage_is_known() -> bool:
        return "database_unreachable" in [
            reason["code"] for reason in (await request(worker, "/api/status"))[1]["not_ready"]
        ]

    servers.postgres.pause()
    try:
        status, problem = await request(worker, "/api/batches")
        assert (status, problem["code"]) == (503, "database_unreachable")
        await until(outage_is_known, seconds=10)
        needs_database = asyncio.create_task(request(worker, "/api/batches"))
        assert (await request(worker, "/api/status"))[0] == 200
        assert not needs_database.done()
        assert (await needs_database)[0] == 503
    finally:
        servers.postgres.resume()

    async def answers() -> bool:
        return (await request(worker, "/api/batches"))[0] == 200

    await until(answers)


async def test_with_a_token_all_but_probes_and_metrics_needs_it(
    addresses: Addresses, database: str, topic_prefix: str, kafka_topics: dict[str, str], tmp_path: Path
) -> None:
    assert kafka_topics
    reachable = {"ELS_WEB_HOST": ALL_INTERFACES, "ELS_WEB_TOKEN": TOKEN}
    async with running_worker(addresses, database, topic_prefix, tmp_path / "worker.log", **reachable) as worker:
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await worker.get(path))[0] == 200
        for path in ("/", "/page/main.js", "/api/status", "/api/batches/x", "/nothing"):
            status, problem = await request(worker, path)
            assert (status, problem["code"]) == (401, "unauthenticated")
        assert (await request(worker, "/api/status", Authorization=f"Bearer {TOKEN}x"))[0] == 401
        assert (await request(worker, "/api/status", Authorization=f"Bearer {TOKEN}"))[0] == 200
        async with worker.http.get(
            worker.url + "/", headers={"Authorization": aiohttp.encode_basic_auth("anybody", TOKEN)}
        ) as response:
            assert response.status == 200
        assert TOKEN not in (tmp_path / "worker.log").read_text()


async def test_a_worker_outside_loopback_without_a_token_exits_with_2(
    addresses: Addresses, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"BROKER_URL": addresses.broker, "DATABASE_URL": database, "WEB_HOST": ALL_INTERFACES}.items():
        monkeypatch.setenv(f"ELS_{name}", value)
    command = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "els_stream", "worker", stderr=asyncio.subprocess.PIPE
    )

    _, stderr = await asyncio.wait_for(command.communicate(), 20)

    assert command.returncode == 2
    assert stderr.decode().splitlines()[-1].startswith("els: ELS_WEB_HOST=0.0.0.0 is not loopback: set ELS_WEB_TOKEN")

"""`els batch` prints the example of README.md for the events that it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.batch_harness import BatchHarness
from tests.support.cli import els
from tests.support.generated_docs import GOLDEN, README

BATCH = "0b7f2f3e-6f0e-4c1e-9c39-1a2b3c4d5e6f"
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")


@pytest.fixture
def environment(database: str, tmp_path: Path) -> Mapping[str, str]:
    return {"ELS_BROKER_URL": "127.0.0.1:1", "ELS_DATABASE_URL": database, "ELS_STATE_DIR": str(tmp_path)}


def inputs() -> list[bytes]:
    content = golden("essay_content_provisioned")
    return [
        golden("batch_essays_registered"),
        content,
        golden("essay_validation_failed"),
        content.replace(b"upload-001", b"upload-009").replace(b"text-001", b"text-009"),
        golden("student_associations_confirmed"),
    ]


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes()


def printed(text: str) -> list[str]:
    return [TIME.sub("TIME", line.rstrip()) for line in text.strip().splitlines()]


async def test_els_batch_prints_what_the_readme_shows(environment: Mapping[str, str], harness: BatchHarness) -> None:
    (shown,) = re.findall(r"^```text\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    for value in inputs():
        await harness.together(harness.record(json.loads(value)["event_type"], value))

    async with harness.all_sent():
        result = await els(environment, "batch", BATCH)

    assert printed(result.stdout) == printed(shown)


async def test_the_service_publishes_the_ids_of_the_examples(harness: BatchHarness) -> None:
    for value in inputs():
        await harness.together(harness.record(json.loads(value)["event_type"], value))

    published = {str(row.event_id) for row in await harness.rows("SELECT event_id FROM unsent_events")}
    shown = {json.loads(golden(name))["event_id"] for name in ("essay_slot_assigned", "batch_essays_ready")}
    assert shown <= published

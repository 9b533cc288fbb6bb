"""The AsyncAPI document: valid for its parser, true to the events, and compatible with the last release."""

from __future__ import annotations

import copy
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from els_stream.commands.asyncapi_document import DEAD_LETTER_HEADERS, OPTIONAL_HEADERS, OWN_HEADERS, document
from els_stream.config.setting_types import CHECKOUT
from els_stream.events import topics
from els_stream.events.headers import own_headers
from els_stream.events.message_schemas import MESSAGES, example_bytes
from tests.support import programs
from tests.support.cli import els
from tests.support.generated_docs import ASYNCAPI, asyncapi
from tests.support.schema_compatibility import Comparison

RELEASED: Final = json.loads((CHECKOUT / "tests" / "support" / "schemas_of_0_1.json").read_text())
ALL_TOPICS: Final = (*topics.INPUT_TOPICS, *topics.OUTPUT_TOPICS, topics.DEAD_LETTER)
JSON_TOPICS: Final = (*topics.INPUT_TOPICS, *topics.OUTPUT_TOPICS)
DOCUMENT: Final[dict[str, Any]] = document()


def message(topic: str) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["components"]["messages"][MESSAGES[topic][0]]
    return found


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Return a validator for a schema whose references point into the components of the document."""
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def payload(topic: str) -> Draft202012Validator:
    return validator(message(topic)["payload"]["schema"])


def parser_findings(*documents: Path) -> list[list[dict[str, str]]]:
    """Return the findings of the AsyncAPI parser that are more than advice, for each document."""
    try:
        node, folder = programs.node()
    except programs.ProgramMissing as missing:
        pytest.fail(str(missing))
    command = [node, str(folder / "check_asyncapi.js"), *map(str, documents)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [[finding for finding in findings if finding["severity"] in {"error", "warning"}] for findings in found]


def test_the_document_in_docs_is_current() -> None:
    assert ASYNCAPI.read_text() == asyncapi(), "run `make docs`"


async def test_the_command_prints_the_document_with_the_prefix_in_its_addresses() -> None:
    printed = json.loads((await els({"ELS_TOPIC_PREFIX": "term-2."}, "asyncapi")).stdout)

    assert printed == document("term-2.")
    assert {channel["address"] for channel in printed["channels"].values()} == {f"term-2.{t}" for t in ALL_TOPICS}


def test_the_parser_of_asyncapi_finds_no_error(tmp_path: Path) -> None:
    """A document with a reference to nothing shows that the parser looks."""
    broken = copy.deepcopy(DOCUMENT)
    broken["channels"]["DeadLetter"]["messages"]["DeadLetter"]["$ref"] = "#/components/messages/Nothing"
    (tmp_path / "broken.json").write_text(json.dumps(broken))

    found = parser_findings(ASYNCAPI, tmp_path / "broken.json")

    assert found[0] == []
    assert {finding["code"] for finding in found[1]} >= {"invalid-ref"}


def test_every_topic_has_a_channel_an_operation_and_a_message() -> None:
    names = {topic: MESSAGES[topic][0] for topic in ALL_TOPICS}
    operations = {
        (operation["action"], operation["channel"]["$ref"].rpartition("/")[2])
        for operation in DOCUMENT["operations"].values()
    }

    assert {name: channel["address"] for name, channel in DOCUMENT["channels"].items()} == {
        name: topic for topic, name in names.items()
    }
    assert operations == {("receive" if topic in topics.INPUT_TOPICS else "send", names[topic]) for topic in ALL_TOPICS}
    assert DOCUMENT["components"]["messages"].keys() == set(names.values())


def test_every_schema_is_valid() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("topic", JSON_TOPICS)
def test_the_example_fits_its_schema(topic: str) -> None:
    (example,) = message(topic)["examples"]

    assert example["payload"] == json.loads(example_bytes(topic))
    payload(topic).validate(example["payload"])
    if "headers" in example:
        validator(message(topic)["headers"]).validate(example["headers"])


@pytest.mark.parametrize("topic", JSON_TOPICS)
def test_the_schema_refuses_a_value_of_another_kind_and_allows_more_fields(topic: str) -> None:
    example = json.loads(example_bytes(topic))
    field = "entity_id" if topic in topics.INPUT_TOPICS else "batch_id"
    required = "batch_id" if topic == topics.ASSOCIATIONS_CONFIRMED else field

    payload(topic).validate({**example, "one_more": 1, "data": {**example["data"], "one_more": 1}})
    for wrong in (
        {**example, "event_type": "huleedu.other.v1"},
        {**example, "schema_version": 2},
        {**example, "data": {**example["data"], required: 9}},
        {**example, "data": {name: value for name, value in example["data"].items() if name != required}},
    ):
        with pytest.raises(ValidationError):
            payload(topic).validate(wrong)


def test_the_headers_are_those_that_the_service_writes() -> None:
    written = [name for name, _ in own_headers(b"", b"", b"", b"", b"", b"")]
    dead_letter = json.loads(example_bytes(topics.DEAD_LETTER))["headers"]

    assert [*OWN_HEADERS] == written
    assert [*DEAD_LETTER_HEADERS] == [name for name, _ in dead_letter[-len(DEAD_LETTER_HEADERS) :]]
    assert set(written) - {name for name, _ in own_headers(b"", b"", b"", b"", b"")} == OPTIONAL_HEADERS


@pytest.mark.parametrize("topic", JSON_TOPICS)
def test_schemas_are_compatible_with_those_of_the_last_release(topic: str) -> None:
    """Every record that was valid input still is, and every record that is written would have been valid output."""
    old, new = RELEASED["messages"][topic], message(topic)["payload"]["schema"]
    if topic in topics.INPUT_TOPICS:
        misfits = list(Comparison(RELEASED, DOCUMENT).misfits(old, new))
    else:
        misfits = list(Comparison(DOCUMENT, RELEASED).misfits(new, old))

    assert misfits == []


@pytest.mark.parametrize("topic", topics.OUTPUT_TOPICS)
def test_the_cloudevents_sdk_reads_a_record(topic: str) -> None:
    (example,) = message(topic)["examples"]
    envelope = example["payload"]
    batch_id = envelope["data"]["batch_id"]
    values = (envelope["event_id"], topic, envelope["correlation_id"], batch_id, envelope["event_timestamp"])
    headers = dict(own_headers(*[value.encode() for value in values]))

    event = from_binary(KafkaMessage(headers=headers, key=batch_id.encode(), value=example_bytes(topic)), JSONFormat())

    assert event.get_id() == envelope["event_id"]
    assert event.get_type() == topic
    assert event.get_source() == "essay-lifecycle-service"
    assert event.get_subject() == batch_id
    assert event.get_specversion() == "1.0"
    assert event.get_datacontenttype() == "application/json"
    assert event.get_time() == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert event.get_data() == envelope

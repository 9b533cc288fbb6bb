"""JSON Schemas of every event, made from the models, and its example. References point into AsyncAPI's components."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from pydantic import JsonValue, TypeAdapter

from els_stream.events import decoder, topics
from els_stream.events.outbound import OUTPUT_ENVELOPES

JsonMap = dict[str, JsonValue]
Adapter = tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]

REFERENCE: Final = "#/components/schemas/{model}"

# The name of a topic's envelope among the schemas, and of the file with its example.
MESSAGES: Final = {
    topics.BATCH_REGISTERED: ("BatchEssaysRegistered", "batch_essays_registered"),
    topics.CONTENT_PROVISIONED: ("EssayContentProvisionedV1", "essay_content_provisioned"),
    topics.VALIDATION_FAILED: ("EssayValidationFailedV1", "essay_validation_failed"),
    topics.ASSOCIATIONS_CONFIRMED: ("StudentAssociationsConfirmedV1", "student_associations_confirmed"),
    topics.SLOT_ASSIGNED: ("EssaySlotAssignedV1", "essay_slot_assigned"),
    topics.PROVISIONING_COMPLETED: ("BatchContentProvisioningCompletedV1", "batch_content_provisioning_completed"),
    topics.ESSAYS_READY: ("BatchEssaysReady", "batch_essays_ready"),
    topics.EXCESS_CONTENT: ("ExcessContentProvisionedV1", "excess_content_provisioned"),
    topics.VALIDATION_ERRORS: ("BatchValidationErrorsV1", "batch_validation_errors"),
    topics.READINESS_TIMEOUT: ("BatchReadinessTimeout", "batch_readiness_timeout"),
    topics.DEAD_LETTER: ("DeadLetter", "dead_letter"),
}
_INPUT: Final = {
    topics.BATCH_REGISTERED: decoder.Registration,
    topics.CONTENT_PROVISIONED: decoder.Content,
    topics.VALIDATION_FAILED: decoder.Failure,
    topics.ASSOCIATIONS_CONFIRMED: decoder.Associations,
}


def envelope_name(topic: str) -> str:
    """Return the name of the topic's envelope among the schemas."""
    return f"{MESSAGES[topic][0]}Envelope"


@cache
def example_bytes(topic: str) -> bytes:
    """Return the example of the topic's events: the value of a record; of a dead letter key, value and headers."""
    name = MESSAGES[topic][1]
    return (files("els_stream.events") / "examples" / f"{name}.json").read_bytes().removesuffix(b"\n")


def schemas() -> dict[str, JsonMap]:
    """Return the schemas by name: an envelope for each topic, and all models in them.

    Schemas of input describe what the service accepts, those of output what it writes. Both allow fields beyond them:
    senders add fields first, and readers must bear that this service does the same.
    """
    accepted: list[Adapter] = [(topic, "validation", TypeAdapter(contract)) for topic, contract in _INPUT.items()]
    written: list[Adapter] = [
        (topic, "serialization", TypeAdapter(contract)) for topic, contract in OUTPUT_ENVELOPES.items()
    ]
    found, whole = TypeAdapter.json_schemas([*accepted, *written], ref_template=REFERENCE)
    text = json.dumps(whole["$defs"])
    envelopes = {}
    for (topic, _), reference in found.items():
        made = str(reference["$ref"]).rpartition("/")[2]
        text = text.replace(f'"{made}"', f'"{envelope_name(topic)}"').replace(f'/{made}"', f'/{envelope_name(topic)}"')
        envelopes[envelope_name(topic)] = topic
    named: dict[str, JsonMap] = json.loads(text)
    for name, schema in named.items():
        _generalize(schema)
        if name in envelopes:
            _name_event(schema, envelopes[name])
    return dict(sorted(named.items()))


def _generalize(schema: JsonMap) -> None:
    """Remove what holds for the models only: titles made from field names, and the ban of other fields."""
    if schema.get("additionalProperties") is False:
        del schema["additionalProperties"]
    properties = schema.get("properties")
    if isinstance(properties, dict):
        for field in properties.values():
            if isinstance(field, dict):
                field.pop("title", None)


def _name_event(schema: JsonMap, topic: str) -> None:
    schema["title"] = f"{MESSAGES[topic][0]} in its envelope"
    properties = schema["properties"]
    if isinstance(properties, dict):
        properties["event_type"] = {"const": topic, "type": "string"}

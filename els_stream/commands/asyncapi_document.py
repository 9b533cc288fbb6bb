"""The AsyncAPI 3 document of the service: channels, operations, messages with keys and headers, schemas, examples."""

from __future__ import annotations

import json
from typing import Final

from pydantic import JsonValue

from els_stream.events.message_schemas import MESSAGES, JsonMap, envelope_name, example_bytes, schemas
from els_stream.events.outbound import SOURCE_SERVICE
from els_stream.events.topics import ASSOCIATIONS_CONFIRMED, DEAD_LETTER, INPUT_TOPICS
from els_stream.kafka.topics import TOPICS, TopicPlan
from els_stream.version import VERSION

JSON: Final = "application/json"
SCHEMA_FORMAT: Final = "application/schema+json;version=2020-12"
KAFKA_BINDING: Final = "0.5.0"

DESCRIPTION: Final = (
    "The events that the Essay Lifecycle Service reads and writes. Kafka may hold copies of an event that it wrote, "
    "with the same id and the same bytes: deduplicate by `ce_id`. More fields and headers may be added at any time."
)
SUMMARIES: Final = {
    "BatchEssaysRegistered": "A batch is registered, with its slots.",
    "EssayContentProvisionedV1": "The text of an uploaded file is stored.",
    "EssayValidationFailedV1": "An uploaded file could not be used.",
    "StudentAssociationsConfirmedV1": "The students of the essays of a REGULAR batch are confirmed.",
    "EssaySlotAssignedV1": "A content took a slot: one per content.",
    "BatchContentProvisioningCompletedV1": "Once per batch: no slot is free any more.",
    "BatchEssaysReady": "Once per REGULAR batch that holds any content: content complete and students confirmed.",
    "ExcessContentProvisionedV1": "A content found no free slot: one per content.",
    "BatchValidationErrorsV1": "Once per batch that becomes content complete with failed slots.",
    "BatchReadinessTimeout": "Once per batch whose deadline passed with free slots.",
    "DeadLetter": "A record can never be applied: its original bytes, key and headers, with more headers.",
}
# Headers by name: a description, and the value if it is always the same.
OWN_HEADERS: Final = {
    "event_id": ("The event id.", None),
    "event_type": ("The topic without a prefix.", None),
    "correlation_id": ("Carried through the whole chain.", None),
    "traceparent": ("W3C trace context, when traced.", None),
    "ce_id": ("CloudEvents id: the event id.", None),
    "ce_type": ("CloudEvents type: the topic without a prefix.", None),
    "ce_source": ("CloudEvents source.", SOURCE_SERVICE),
    "ce_subject": ("CloudEvents subject: the batch id.", None),
    "ce_time": ("CloudEvents time, RFC 3339.", None),
    "ce_specversion": ("Version of CloudEvents.", "1.0"),
    "content-type": ("CloudEvents datacontenttype.", JSON),
}
DEAD_LETTER_HEADERS: Final = {
    "ce_id": ("The id of the dead letter.", None),
    "ce_type": ("The topic without a prefix.", DEAD_LETTER),
    "dlq_reason": ("Why the record can't be applied.", None),
    "dlq_message": ("The same in words.", None),
    "dlq_topic": ("Topic of the original record.", None),
    "dlq_partition": ("Partition of the original record.", None),
    "dlq_offset": ("Offset of the original record.", None),
    "dlq_timestamp": ("Timestamp of the original record, in milliseconds.", None),
}
OPTIONAL_HEADERS: Final = {"traceparent"}


def document(prefix: str = "") -> JsonMap:
    """Return the document; `prefix` stands before the topic in each address."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Essay Lifecycle Service",
            "version": VERSION,
            "description": DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": JSON,
        "channels": {_name(plan.topic): _channel(plan, prefix) for plan in TOPICS},
        "operations": {_operation_name(plan.topic): _operation(plan.topic) for plan in TOPICS},
        "components": {
            "messages": {_name(plan.topic): _message(plan.topic) for plan in TOPICS},
            "schemas": dict(schemas()),
        },
    }


def _name(topic: str) -> str:
    return MESSAGES[topic][0]


def _operation_name(topic: str) -> str:
    return f"{'receive' if topic in INPUT_TOPICS else 'send'}{_name(topic)}"


def _channel(plan: TopicPlan, prefix: str) -> JsonMap:
    """Return the channel. Its limits are those that `els topics` sets; the broker's own may differ."""
    config = plan.config(1)
    return {
        "address": prefix + plan.topic,
        "description": SUMMARIES[_name(plan.topic)],
        "messages": {_name(plan.topic): {"$ref": f"#/components/messages/{_name(plan.topic)}"}},
        "bindings": {
            "kafka": {
                "topicConfiguration": {
                    "cleanup.policy": [config["cleanup.policy"]],
                    "retention.ms": int(config["retention.ms"]),
                    "max.message.bytes": int(config["max.message.bytes"]),
                },
                "bindingVersion": KAFKA_BINDING,
            }
        },
    }


def _operation(topic: str) -> JsonMap:
    return {
        "action": "receive" if topic in INPUT_TOPICS else "send",
        "channel": {"$ref": f"#/channels/{_name(topic)}"},
        "summary": SUMMARIES[_name(topic)],
        "messages": [{"$ref": f"#/channels/{_name(topic)}/messages/{_name(topic)}"}],
    }


def _message(topic: str) -> JsonMap:
    name = _name(topic)
    message: JsonMap = {"name": name, "title": name, "summary": SUMMARIES[name], "bindings": _key(topic)}
    if topic == DEAD_LETTER:
        example = json.loads(example_bytes(topic))
        return message | {
            "contentType": "application/octet-stream",
            "headers": _headers(DEAD_LETTER_HEADERS),
            "payload": _payload({"description": "The bytes of the original record, whatever they are, or none."}),
            "examples": [{"headers": dict(example["headers"]), "payload": example["value"]}],
        }
    message["contentType"] = JSON
    message["payload"] = _payload({"$ref": f"#/components/schemas/{envelope_name(topic)}"})
    example = json.loads(example_bytes(topic))
    if topic in INPUT_TOPICS:
        return message | {"examples": [{"payload": example}]}
    return message | {
        "correlationId": {"location": "$message.header#/correlation_id"},
        "headers": _headers(OWN_HEADERS),
        "examples": [{"headers": _example_headers(topic, example), "payload": example}],
    }


def _payload(schema: JsonMap) -> JsonMap:
    return {"schemaFormat": SCHEMA_FORMAT, "schema": schema}


def _key(topic: str) -> JsonMap:
    field = "batch_id" if topic == ASSOCIATIONS_CONFIRMED else "entity_id"
    if topic == DEAD_LETTER:
        text = "The key of the original record."
    elif topic in INPUT_TOPICS:
        text = f"The batch id (`data.{field}`), in UTF-8. Another key, or none, costs speed and order, nothing else."
    else:
        text = "The batch id, in UTF-8."
    return {"kafka": {"key": {"type": "string", "description": text}, "bindingVersion": KAFKA_BINDING}}


def _headers(described: dict[str, tuple[str, str | None]]) -> JsonMap:
    properties: JsonMap = {}
    for name, (text, value) in described.items():
        constant: JsonMap = {} if value is None else {"const": value}
        properties[name] = {"type": "string", "description": text, **constant}
    required: list[JsonValue] = [name for name in described if name not in OPTIONAL_HEADERS]
    return {"type": "object", "properties": properties, "required": required}


def _example_headers(topic: str, envelope: JsonMap) -> JsonMap:
    data, trace = envelope["data"], envelope["metadata"]
    batch_id = data["batch_id"] if isinstance(data, dict) else None
    values: JsonMap = {
        "event_id": envelope["event_id"],
        "event_type": topic,
        "correlation_id": envelope["correlation_id"],
        **(trace if isinstance(trace, dict) else {}),
        "ce_id": envelope["event_id"],
        "ce_type": topic,
        "ce_source": SOURCE_SERVICE,
        "ce_subject": batch_id,
        "ce_time": envelope["event_timestamp"],
        "ce_specversion": "1.0",
        "content-type": JSON,
    }
    return values

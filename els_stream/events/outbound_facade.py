"""All that goes out, for those who only tell facts: an occasion and the facts in, an event of final bytes out."""

from els_stream.events.builders import (
    FailedSlot,
    essays_ready,
    excess_content,
    provisioning_completed,
    readiness_timeout,
    slot_assigned,
    validation_errors,
)
from els_stream.events.dead_letter import dead_letter
from els_stream.events.outbound_event import MAX_RECORD_BYTES, EventContext, OutboundEvent
from els_stream.events.trace_context import traceparent_of
from els_stream.events.truncation import cut_error_detail

__all__ = [
    "MAX_RECORD_BYTES",
    "EventContext",
    "FailedSlot",
    "OutboundEvent",
    "cut_error_detail",
    "dead_letter",
    "essays_ready",
    "excess_content",
    "provisioning_completed",
    "readiness_timeout",
    "slot_assigned",
    "traceparent_of",
    "validation_errors",
]

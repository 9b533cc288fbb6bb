"""All that goes out, for those who only tell facts: an occasion and the facts in, an event of final bytes out."""

from els_stream.contracts.cutting import cut_error_detail
from els_stream.contracts.dead_letters import dead_letter
from els_stream.contracts.sealing import MAX_RECORD_BYTES, Occasion, OutboundEvent
from els_stream.contracts.tracing import traceparent_of
from els_stream.contracts.writing import (
    FailedSlot,
    essays_ready,
    excess_content,
    provisioning_completed,
    readiness_timeout,
    slot_assigned,
    validation_errors,
)

__all__ = [
    "MAX_RECORD_BYTES",
    "FailedSlot",
    "Occasion",
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

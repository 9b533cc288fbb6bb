"""Logical topic names, without an environment's prefix. They are also the event types."""

from typing import Final

BATCH_REGISTERED: Final = "huleedu.batch.essays.registered.v1"
CONTENT_PROVISIONED: Final = "huleedu.file.essay.content.provisioned.v1"
VALIDATION_FAILED: Final = "huleedu.file.essay.validation.failed.v1"
ASSOCIATIONS_CONFIRMED: Final = "huleedu.class.student.associations.confirmed.v1"

SLOT_ASSIGNED: Final = "huleedu.els.essay.slot.assigned.v1"
PROVISIONING_COMPLETED: Final = "huleedu.batch.content.provisioning.completed.v1"
ESSAYS_READY: Final = "huleedu.els.batch.essays.ready.v1"
EXCESS_CONTENT: Final = "huleedu.els.excess.content.provisioned.v1"
VALIDATION_ERRORS: Final = "huleedu.els.batch.validation.errors.v1"
READINESS_TIMEOUT: Final = "huleedu.els.batch.readiness.timeout.v1"

DEAD_LETTER: Final = "huleedu.els.dead.letter.v1"

INPUT_TOPICS: Final = (BATCH_REGISTERED, CONTENT_PROVISIONED, VALIDATION_FAILED, ASSOCIATIONS_CONFIRMED)
OUTPUT_TOPICS: Final = (
    SLOT_ASSIGNED,
    PROVISIONING_COMPLETED,
    ESSAYS_READY,
    EXCESS_CONTENT,
    VALIDATION_ERRORS,
    READINESS_TIMEOUT,
)

"""What a micro-batch shows of a change at the senders: fields that break their contract, and unknown values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from els_stream.domain.outcomes import Refused
from els_stream.events.fields import VALIDATION_ERROR_CODES
from els_stream.events.inbound import EssayValidationFailedV1
from els_stream.handlers.decoding import DecodedEvent

if TYPE_CHECKING:
    from collections.abc import Sequence


def violated_fields(outcomes: Sequence[object]) -> list[str]:
    """Return the field of each record that breaks its contract at one."""
    return [one.field for one in outcomes if isinstance(one, Refused) and one.field is not None]


def unknown_codes(decoded: Sequence[object]) -> int:
    """Return how many validation failures have a code that this release does not know."""
    events = [one.event for one in decoded if isinstance(one, DecodedEvent)]
    failures = [event for event in events if isinstance(event, EssayValidationFailedV1)]
    return sum(failure.validation_error_code not in VALIDATION_ERROR_CODES for failure in failures)

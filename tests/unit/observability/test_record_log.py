from __future__ import annotations

import json

from els_stream.domain.outcomes import Outcome, PlainOutcome, Refused
from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.decoder import decode_content
from els_stream.events.topics import CONTENT_PROVISIONED
from els_stream.handlers.decoding import decode_record
from els_stream.handlers.event_handler import DecodedRecord
from els_stream.observability.record_log import log_fields
from tests.support import factories as make

CHAIN = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
PURGED = Refused(DeadLetterReason.BATCH_PURGED, "the batch was purged")


def read(value: bytes, offset: int = 0) -> DecodedRecord:
    headers = (("correlation_id", CHAIN.encode()),)
    return decode_record(decode_content, make.record(CONTENT_PROVISIONED, value, offset=offset, headers=headers))


def test_each_record_of_a_small_batch_is_logged_by_ids_without_content() -> None:
    good, bad = read(make.content(number=1)), read(b"Dear file service,", offset=7)

    logged = log_fields(
        [good, bad], [PlainOutcome.STORED_AS_PENDING, Refused(DeadLetterReason.NOT_JSON, "Dear file service,")]
    )

    assert logged == [
        {
            "record": f"{CONTENT_PROVISIONED}/0/0",
            "outcome": "pending",
            "batch_id": make.BATCH,
            "correlation_id": make.stable_id("correlation"),
        },
        {
            "record": f"{CONTENT_PROVISIONED}/0/7",
            "outcome": "dead_letter",
            "reason": "not_json",
            "correlation_id": CHAIN,
        },
    ]
    assert "file_name" not in json.dumps(logged)


def test_of_a_large_batch_only_the_first_dead_letters_are_logged() -> None:
    readings = [read(make.content(number=number), offset=number) for number in range(100)]
    outcomes: list[Outcome] = [PURGED if number % 10 == 0 else PlainOutcome.STORED_AS_PENDING for number in range(100)]

    logged = log_fields(readings, outcomes)

    assert [line["record"].rpartition("/")[2] for line in logged] == ["0", "10", "20", "30", "40"]
    assert {line["outcome"] for line in logged} == {"dead_letter"}

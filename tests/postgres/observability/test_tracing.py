from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.events.records import RawRecord
from els_stream.events.topics import ASSOCIATIONS_CONFIRMED, BATCH_REGISTERED, CONTENT_PROVISIONED
from els_stream.events.trace_context import traceparent_of
from els_stream.handlers.event_handler import DomainHandler
from els_stream.observability.tracing import Tracing
from tests.support import factories as make
from tests.support.batch_harness import BatchHarness, OutboxEvent, handlers_by_topic
from tests.support.span_exporter import RecordedSpans, parent, place
from tests.support.unsent_events import empty_outbox

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
OTHER = "00-" + "c" * 32 + "-" + "d" * 16 + "-01"
CONTENT = f"process {CONTENT_PROVISIONED}"


@pytest.fixture
def recorded() -> RecordedSpans:
    return RecordedSpans()


def traced(tracing: Tracing) -> dict[str, DomainHandler]:
    return {topic: tracing.wrap_handler(handler) for topic, handler in handlers_by_topic().items()}


@pytest.fixture
def harness(engine: AsyncEngine, recorded: RecordedSpans) -> BatchHarness:
    return BatchHarness(engine=engine, handlers=traced(recorded.tracing))


@pytest.fixture
def plain(engine: AsyncEngine) -> BatchHarness:
    return BatchHarness(engine=engine, handlers=traced(Tracing(None)))


def sent_in(trace: str, record: RawRecord) -> RawRecord:
    return replace(record, headers=(*record.headers, ("traceparent", trace.encode())))


def traces(events: list[OutboxEvent]) -> dict[str, str | None]:
    """Return the trace of each kind of event; asserts that header and envelope agree."""
    found: dict[str, str | None] = {}
    for event in events:
        trace = traceparent_of(event.headers.items(), None)
        assert event.envelope["metadata"] == (trace and {"traceparent": trace})
        found[event.kind] = trace
    return found


async def test_an_event_is_in_the_trace_of_its_cause(harness: BatchHarness, recorded: RecordedSpans) -> None:
    await harness.together(sent_in(OTHER, harness.registration(essays=2)))
    await harness.together(harness.content(0))

    await harness.together(sent_in(TRACE, harness.content(1)))

    *_, last = recorded.spans(CONTENT)
    assert parent(last) == TRACE
    assert traces(await harness.outbox_events()) == {"assigned": place(last), "completed": place(last)}


async def test_the_trace_may_be_in_the_envelope(harness: BatchHarness, recorded: RecordedSpans) -> None:
    await harness.together(harness.registration(essays=2))

    value = make.envelope(CONTENT_PROVISIONED, make.content_data(number=0), metadata={"traceparent": TRACE})
    await harness.together(harness.record(CONTENT_PROVISIONED, value))

    assert parent(recorded.span(CONTENT)) == TRACE


async def test_a_pending_event_keeps_its_trace_when_its_batch_is_registered(
    harness: BatchHarness,
) -> None:
    await harness.together(sent_in(TRACE, harness.content(0)))

    await harness.together(sent_in(OTHER, harness.registration(essays=2)))

    assert traces(await harness.outbox_events()) == {"assigned": TRACE}


async def test_a_ready_batch_is_in_the_trace_of_its_confirmation(
    harness: BatchHarness, recorded: RecordedSpans
) -> None:
    await harness.together(harness.registration(essays=1, class_id="class-9b"))
    await harness.together(sent_in(TRACE, harness.content(0)))

    await harness.together(sent_in(OTHER, harness.associations(1)))

    published = traces(await harness.outbox_events())
    assert published["ready"] == place(recorded.span(f"process {ASSOCIATIONS_CONFIRMED}"))
    assert published["completed"] == place(recorded.span(CONTENT))


async def test_a_span_has_place_and_outcome_of_its_record_but_no_content(
    harness: BatchHarness, recorded: RecordedSpans
) -> None:
    await harness.together(harness.content(0))
    await harness.together(harness.record(BATCH_REGISTERED, b"Dear orchestrator,"))

    pending, refused = recorded.span(CONTENT), recorded.span(f"process {BATCH_REGISTERED}")

    assert pending.attributes == {
        "messaging.system": "kafka",
        "messaging.destination.name": CONTENT_PROVISIONED,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "els.batch_id": make.BATCH,
        "els.outcome": "pending",
    }
    assert refused.attributes is not None
    assert refused.attributes["els.outcome"] == "dead_letter"


async def test_a_failed_attempt_ends_its_spans_as_errors(harness: BatchHarness, recorded: RecordedSpans) -> None:
    await harness.execute("ALTER TABLE batch_pending_events RENAME TO elsewhere")

    with pytest.raises(DBAPIError):
        await harness.together(harness.content(0))

    assert not recorded.span(CONTENT).status.is_ok
    await harness.execute("ALTER TABLE elsewhere RENAME TO batch_pending_events")


async def test_without_tracing_the_trace_of_the_producer_is_passed_on(plain: BatchHarness) -> None:
    await plain.together(plain.registration(essays=3))
    await plain.together(sent_in(TRACE, plain.content(0)))
    assert traces(await plain.outbox_events()) == {"assigned": TRACE}

    async with plain.engine.begin() as conn:
        await empty_outbox(conn)
    await plain.together(plain.content(1))

    assert traces(await plain.outbox_events()) == {"assigned": None}

from __future__ import annotations

import asyncio
from dataclasses import replace

from aiokafka import AIOKafkaConsumer
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.servers import Addresses
from els_stream.events.topics import CONTENT_PROVISIONED, SLOT_ASSIGNED
from els_stream.events.trace_context import traceparent_of
from els_stream.relay import Relay
from tests.support.batch_harness import BatchHarness, handlers_by_topic
from tests.support.relays import QUICK
from tests.support.span_exporter import RecordedSpans, parent, place
from tests.support.worker_process import until


async def test_producer_handler_relay_and_output_event_are_one_trace(
    engine: AsyncEngine, addresses: Addresses, topic_prefix: str, kafka_topics: dict[str, str]
) -> None:
    recorded = RecordedSpans()
    tracing = recorded.tracing
    handlers = {topic: tracing.wrap_handler(handler) for topic, handler in handlers_by_topic().items()}
    harness = BatchHarness(engine=engine, handlers=handlers)
    await harness.together(harness.registration(essays=2))
    consumer = AIOKafkaConsumer(
        kafka_topics[SLOT_ASSIGNED], bootstrap_servers=addresses.broker, auto_offset_reset="earliest"
    )
    relay = Relay(
        engine,
        broker=addresses.broker,
        topic_prefix=topic_prefix,
        options=QUICK,
        on_ack=tracing.wrap_on_ack(lambda _rows, _since: None),
    )

    async def acked() -> bool:
        return bool(recorded.spans(f"send {SLOT_ASSIGNED}"))

    with recorded.producer() as (upload, traceparent):
        content = harness.content(0)
        await harness.together(replace(content, headers=(("traceparent", traceparent.encode()),)))
    await consumer.start()
    await relay.start()
    try:
        record = await asyncio.wait_for(consumer.getone(), 30)
        await until(acked)
    finally:
        await relay.stop()
        await consumer.stop()

    handled, sent = recorded.span(f"process {CONTENT_PROVISIONED}"), recorded.span(f"send {SLOT_ASSIGNED}")
    left = traceparent_of([(name, value or b"") for name, value in record.headers], None)
    assert [parent(handled), parent(sent), left] == [place(upload), place(handled), place(handled)]
    assert len({place(span).split("-")[1] for span in (upload, handled, sent)}) == 1

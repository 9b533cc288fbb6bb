"""Metrics and trace spans of a real worker while batches go through every scenario."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from els_stream.embedded.ports import new_ports
from els_stream.embedded.servers import Addresses
from els_stream.events.topics import ASSOCIATIONS_CONFIRMED, BATCH_REGISTERED, CONTENT_PROVISIONED, VALIDATION_FAILED
from els_stream.queries.outbox_rows import SHARD_COUNT
from tests.support import factories as make
from tests.support.worker_process import Worker, running_worker, send, until

TRACE_ID = "c0ffee" * 5 + "42"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
REGULAR = "batch-of-9c"
LATE = "batch-of-9d"


@dataclass
class Collector:
    """An OTLP/HTTP endpoint that keeps the bytes of the spans."""

    url: str
    received: bytearray = field(default_factory=bytearray)

    async def take(self, request: web.Request) -> web.Response:
        self.received += await request.read()
        return web.Response()


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    (port,) = new_ports(1)
    collector = Collector(f"http://127.0.0.1:{port}/v1/traces")
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    yield collector
    await runner.cleanup()


@dataclass(frozen=True)
class MeasuredWorker:
    worker: Worker
    addresses: Addresses
    topic_prefix: str
    engine: AsyncEngine

    async def send(self, *events: tuple[str, bytes]) -> None:
        await send(self.addresses, self.topic_prefix, *events)

    async def execute(self, sql: str) -> None:
        async with self.engine.begin() as conn:
            await conn.execute(text(sql))

    async def wait_for_metrics(self, **expected: float) -> None:
        """Wait until metrics have these sums: `name` of all series, `name__value` of those with this label value."""
        wanted = {tuple(name.replace("__data_", "__data.").split("__")): value for name, value in expected.items()}
        last: dict[tuple[str, ...], float | None] = {}

        async def shown() -> bool:
            sums = await self._sums()
            last.update({name: sums.get(name) for name in wanted})
            return last == wanted

        try:
            await until(shown)
        except TimeoutError:
            raise AssertionError({name: (wanted[name], last[name]) for name in wanted}) from None

    async def _sums(self) -> Counter[tuple[str, ...]]:
        sums: Counter[tuple[str, ...]] = Counter()
        for family in text_string_to_metric_families((await self.worker.get("/metrics"))[2]):
            for sample in family.samples:
                sums.update({(sample.name,): sample.value})
                sums.update({(sample.name, value): sample.value for value in sample.labels.values()})
        return sums


async def test_metrics_count_every_scenario(
    addresses: Addresses,
    database: str,
    engine: AsyncEngine,
    topic_prefix: str,
    kafka_topics: dict[str, str],
    tmp_path: Path,
) -> None:
    assert kafka_topics
    async with (
        collecting() as collector,
        running_worker(
            addresses,
            database,
            topic_prefix,
            tmp_path / "worker.log",
            ELS_EXPIRY_INTERVAL_SECONDS="0.2",
            ELS_PURGE_INTERVAL_HOURS="0.0001",
            ELS_TRACING_ENDPOINT=collector.url,
        ) as worker,
    ):
        measured = MeasuredWorker(worker, addresses, topic_prefix, engine)
        await a_guest_batch_fills(measured)
        await a_batch_of_a_class_waits_for_its_students(measured)
        await a_deadline_passes(measured)
        await a_purge_deletes_the_finished_guest_batch(measured)
        await relay_latencies_and_pools_are_measured(measured)
        await changes_at_the_senders_are_counted_by_field(measured)
    assert bytes.fromhex(TRACE_ID) in collector.received
    assert '"event": "handled"' in (tmp_path / "worker.log").read_text()


async def a_guest_batch_fills(measured: MeasuredWorker) -> None:
    await measured.wait_for_metrics(huleedu_batches_active__GUEST=0, huleedu_batches_completed__GUEST=0)
    await measured.send((CONTENT_PROVISIONED, make.content(number=0)))
    await measured.wait_for_metrics(els_pending_events__content_provisioned=1, huleedu_batches_active__GUEST=0)

    traced = make.envelope(BATCH_REGISTERED, make.registration_data(essays=2), metadata={"traceparent": TRACEPARENT})
    await measured.send((BATCH_REGISTERED, traced))
    await measured.wait_for_metrics(els_pending_events__content_provisioned=0, huleedu_batches_active__GUEST=1)

    await measured.send(*((CONTENT_PROVISIONED, make.content(number=number)) for number in (1, 1, 2)))
    await measured.wait_for_metrics(
        huleedu_batches_active__GUEST=0,
        huleedu_batches_completed__GUEST=1,
        els_events_total__assigned=1,
        els_events_total__already_assigned=1,
        els_events_total__excess=1,
        els_events_total__pending=1,
        els_events_total__registered=1,
    )


async def a_batch_of_a_class_waits_for_its_students(measured: MeasuredWorker) -> None:
    await measured.send(
        (BATCH_REGISTERED, make.registration(REGULAR, essays=2, class_id="class-9b")),
        (BATCH_REGISTERED, b"Dear batch orchestrator,"),
    )
    await measured.wait_for_metrics(huleedu_batches_active__REGULAR=1, els_dead_letters__not_json=1)
    await measured.send(
        (CONTENT_PROVISIONED, make.content(REGULAR, number=0)), (VALIDATION_FAILED, make.failure(REGULAR, number=1))
    )
    await measured.wait_for_metrics(
        els_events_total__slot_failed=1, els_events_total__assigned=2, huleedu_batches_active__REGULAR=1
    )

    await measured.send((ASSOCIATIONS_CONFIRMED, make.associations(REGULAR, essays=2)))

    await measured.wait_for_metrics(
        huleedu_batches_active__REGULAR=0,
        huleedu_batches_completed__REGULAR=1,
        els_events_total__associations_confirmed=1,
    )


async def a_deadline_passes(measured: MeasuredWorker) -> None:
    await measured.send((BATCH_REGISTERED, make.registration(LATE, essays=2)))
    await measured.wait_for_metrics(huleedu_batches_active__GUEST=1)

    await measured.execute(
        "UPDATE batch_essay_trackers SET registered_at = now() - interval '2 h', deadline_at = now() - interval '1 h'"
        " WHERE state = 'open'"
    )

    await measured.wait_for_metrics(els_timer_items_total__expire_batches=1, huleedu_batches_active__GUEST=1)


async def a_purge_deletes_the_finished_guest_batch(measured: MeasuredWorker) -> None:
    await measured.wait_for_metrics(batches_purged_total__GUEST=0, huleedu_batches_completed__GUEST=1)
    await measured.execute(
        "UPDATE batch_essay_trackers SET completed_at = now() - interval '15 days' WHERE state = 'completed'"
    )
    await measured.wait_for_metrics(
        batches_purged_total__GUEST=1,
        batches_purged_total__REGULAR=0,
        huleedu_batches_completed__GUEST=0,
        huleedu_batches_completed__REGULAR=1,
    )

    await measured.send((CONTENT_PROVISIONED, make.content(number=3)))

    await measured.wait_for_metrics(els_dead_letters__batch_purged=1, els_events_total__dead_letter=2)


async def relay_latencies_and_pools_are_measured(measured: MeasuredWorker) -> None:
    """Published events: 2 assigned, excess and completed of the first batch, 4 of the second, 2 dead letters."""
    await measured.wait_for_metrics(
        els_outbox_rows=0, els_relay_shards=SHARD_COUNT, els_lag_records=0, els_relay_acked_total=11
    )
    await measured.wait_for_metrics(els_end_to_end_seconds_count=10, els_pool_size__worker=10, els_purge_running=0)
    for stage in ("micro_batch", "handler", "commit"):
        assert (await measured.worker.metric(f"els_{stage}_seconds_count", topic=CONTENT_PROVISIONED) or 0) > 0
    checked_out = await measured.worker.metric("els_pool_checked_out", pool="worker")
    assert checked_out is not None
    assert 0 <= checked_out <= 10


async def changes_at_the_senders_are_counted_by_field(measured: MeasuredWorker) -> None:
    """An unknown code counts when it comes, also where its batch is not registered yet."""
    await measured.send(
        (VALIDATION_FAILED, make.failure("early", number=0, validation_error_code="DOG_ATE_IT")),
        (VALIDATION_FAILED, make.failure(REGULAR, number=2, validation_error_code="DOG_ATE_IT")),
        *((CONTENT_PROVISIONED, make.content(number=number, file_size_bytes="large")) for number in range(3)),
        (BATCH_REGISTERED, make.registration("sv9", essays=1, course_code="SV9")),
    )
    await measured.wait_for_metrics(
        els_unknown_values_total=2,
        els_pending_events__validation_failed=1,
        els_contract_violations_total=4,
        els_contract_violations_total__data_file_size_bytes=3,
        els_contract_violations_total__data_course_code=1,
    )

"""What a chaos run sends, and how many faults of each kind it causes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tests.support.faults import Fault
from tests.support.topic_changes import Change


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The traffic and the faults of a run. The seed decides their times and order.

    `upstream` is the percentage of records that other producers than aiokafka send. `java_codecs` of these are Java's.
    `backlogs` is how many are handled without faults before the first and after the last, to compare the rates.
    `overlapping` is the percentage of faults that begin before the service has recovered from the last one.
    After `minutes` no further fault is caused; 0 is for all, however long they take.
    `cluster` 1 is for three brokers and a PostgreSQL with a standby, which have other faults than single servers.
    """

    seed: int = 1
    batches: int = 700
    largest: int = 60
    workers: int = 1
    relays: int = 0
    kills: int = 0
    replacements: int = 0
    freezes: int = 0
    restarts: int = 0
    broker_restarts: int = 0
    cuts: int = 0
    half_open: int = 0
    slow: int = 0
    clock_steps: int = 0
    full_disks: int = 0
    cluster: int = 0
    broker_kills: int = 0
    rolling_restarts: int = 0
    majority_losses: int = 0
    low_isr: int = 0
    leaderless: int = 0
    failovers: int = 0
    standby_losses: int = 0
    upstream: int = 0
    java_codecs: int = 0
    raised: int = 0
    expired: int = 0
    recreated: int = 0
    compacted: int = 0
    backlogs: int = 0
    overlapping: int = 25
    minutes: int = 0
    in_flight: int = 2
    micro_batch: int = 100

    @property
    def faults(self) -> list[Fault]:
        counts = {
            Fault.KILL: self.kills,
            Fault.REPLACE: self.replacements,
            Fault.FREEZE: self.freezes,
            Fault.RESTART_POSTGRES: self.restarts,
            Fault.RESTART_KAFKA: self.broker_restarts,
            Fault.CUT: self.cuts,
            Fault.HALF_OPEN: self.half_open,
            Fault.SLOW: self.slow,
            Fault.CLOCK_STEP: self.clock_steps,
            Fault.FULL_DISK: self.full_disks,
            Fault.KILL_BROKER: self.broker_kills,
            Fault.ROLL_BROKERS: self.rolling_restarts,
            Fault.MAJORITY: self.majority_losses,
            Fault.LOW_ISR: self.low_isr,
            Fault.NO_LEADER: self.leaderless,
            Fault.FAILOVER: self.failovers,
            Fault.STANDBY_LOST: self.standby_losses,
        }
        return [fault for fault, count in counts.items() for _ in range(count)]

    @property
    def changes(self) -> list[Change]:
        counts = {
            Change.RAISE: self.raised,
            Change.EXPIRE: self.expired,
            Change.RECREATE: self.recreated,
            Change.COMPACT: self.compacted,
        }
        return [change for change, count in counts.items() for _ in range(count)]


# Two cores take about 1 000 records/s while faults go on; `long` is for a machine that has nothing else to do.
PROFILES: Final = {
    "short": Plan(
        seed=7,
        batches=400,
        workers=2,
        kills=10,
        freezes=2,
        restarts=3,
        broker_restarts=1,
        cuts=4,
        half_open=2,
        slow=2,
        upstream=60,
        java_codecs=2,
        raised=1,
        expired=2,
        recreated=1,
        compacted=1,
    ),
    "medium": Plan(
        seed=8,
        batches=5_000,
        workers=2,
        relays=1,
        kills=150,
        replacements=5,
        freezes=15,
        restarts=12,
        broker_restarts=4,
        cuts=15,
        half_open=10,
        slow=10,
        clock_steps=5,
        full_disks=2,
        upstream=60,
        java_codecs=5,
        raised=4,
        expired=10,
        recreated=3,
        compacted=2,
        backlogs=6,
    ),
    "long": Plan(
        seed=9,
        batches=23_000,
        workers=2,
        relays=1,
        kills=850,
        replacements=10,
        freezes=50,
        restarts=40,
        broker_restarts=15,
        cuts=30,
        half_open=25,
        slow=10,
        clock_steps=10,
        full_disks=4,
        upstream=40,
        java_codecs=5,
        raised=8,
        expired=40,
        recreated=4,
        compacted=2,
        backlogs=6,
        minutes=24,
    ),
    "cluster": Plan(
        seed=11,
        batches=3_500,
        workers=2,
        relays=1,
        cluster=1,
        kills=20,
        replacements=3,
        freezes=3,
        restarts=2,
        cuts=5,
        half_open=4,
        slow=3,
        broker_kills=12,
        rolling_restarts=2,
        majority_losses=2,
        low_isr=2,
        leaderless=3,
        failovers=5,
        standby_losses=3,
        backlogs=6,
    ),
}

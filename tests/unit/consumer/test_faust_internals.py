"""The internals of Faust and aiokafka that the consumer depends on have not changed."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from importlib.metadata import version
from operator import attrgetter
from typing import cast

import pytest
from mode.services import ServiceTask

from els_stream.consumer.connection_internals import USED_BY_CONNECTIONS
from els_stream.consumer.faust_consumer import ElsConsumer
from els_stream.consumer.faust_internals import OVERRIDDEN, USED, OverriddenInternal
from els_stream.consumer.group_internals import USED_BY_GROUP_WATCH
from els_stream.consumer.kafka_client import ElsConsumerThread


def resolve(where: str) -> Callable[..., object]:
    module, _, path = where.partition(":")
    thing = attrgetter(path)(importlib.import_module(module))
    if isinstance(thing, ServiceTask):
        thing = thing.fun
    assert callable(thing)
    return cast("Callable[..., object]", thing)


def words(source: str) -> str:
    return " ".join(source.split())


@pytest.mark.parametrize(
    "internal",
    [*OVERRIDDEN, *USED, *USED_BY_CONNECTIONS, *USED_BY_GROUP_WATCH],
    ids=lambda internal: f"{internal.where} {internal.source}",
)
def test_an_internal_is_unchanged(internal: OverriddenInternal) -> None:
    thing = resolve(internal.where)
    if internal.signature is not None:
        assert str(inspect.signature(thing)) == internal.signature
    if internal.source is not None:
        assert words(internal.source) in words(inspect.getsource(thing))


def test_the_versions_are_those_of_the_tables() -> None:
    assert version("faust-streaming") == "0.15.3"
    assert version("aiokafka").startswith("0.14.")


@pytest.mark.parametrize("ours", [ElsConsumer, ElsConsumerThread])
def test_every_overridden_method_is_in_the_table(ours: type) -> None:
    table = {internal.where.rpartition(".")[2] for internal in OVERRIDDEN}
    theirs = {name for base in ours.__mro__[1:] for name in vars(base)}
    overridden = {name for name in vars(ours) if callable(getattr(ours, name)) and name in theirs}
    assert {name for name in overridden if not name.startswith("__")} <= table

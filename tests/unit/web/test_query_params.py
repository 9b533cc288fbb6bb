"""Queries are read strictly, and cursors come back as they were given out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from els_stream.web.problems import Problem
from els_stream.web.query_params import QueryParams, cursor

KNOWN = ("state", "older_than")
NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
FORGED = ["", "x", "%%%", "AAAA", cursor(), cursor("a", "b"), cursor(1, 2), cursor(NOON.isoformat()), cursor(-1), "é"]


def test_a_query_says_what_it_says() -> None:
    asked = QueryParams({"state": "open", "older_than": "90m", "limit": "200"}, KNOWN)

    assert asked.one_of("state", ["open"]) == "open"
    assert asked.age("older_than") == timedelta(minutes=90)
    assert asked.limit() == 200
    assert QueryParams({}, KNOWN).one_of("state", ["open"]) is None
    assert QueryParams({}, KNOWN).limit() == 50


@pytest.mark.parametrize("name", ["stat", "Limit", "younger_than"])
def test_a_parameter_that_does_not_exist_is_refused(name: str) -> None:
    with pytest.raises(Problem, match="no parameter"):
        QueryParams({name: "x"}, KNOWN)


@pytest.mark.parametrize(
    ("ask", "query"),
    [
        (lambda asked: asked.one_of("state", ["open"]), {"state": "closed"}),
        (lambda asked: asked.age("older_than"), {"older_than": "1w"}),
        (lambda asked: asked.age("older_than"), {"older_than": "9999999d"}),
        (lambda asked: asked.age("older_than"), {"older_than": "٣d"}),
        (lambda asked: asked.limit(), {"limit": "0"}),
        (lambda asked: asked.limit(), {"limit": "201"}),
        (lambda asked: asked.limit(), {"limit": "-1"}),
        (lambda asked: asked.limit(), {"limit": "many"}),
    ],
)
def test_what_is_not_allowed_is_a_bad_request(ask: Callable[[QueryParams], object], query: dict[str, str]) -> None:
    with pytest.raises(Problem) as caught:
        ask(QueryParams(query, KNOWN))

    assert caught.value.status == 400


@pytest.mark.parametrize("batch_id", ["batch", 'a/b"c', "å😀", " "])
def test_a_cursor_leads_back_to_its_place(batch_id: str) -> None:
    asked = QueryParams({"cursor": cursor(NOON.isoformat(), batch_id)}, KNOWN)

    assert asked.batch_cursor() == (NOON, batch_id)
    assert QueryParams({"cursor": cursor(42)}, KNOWN).letter_cursor() == 42


@pytest.mark.parametrize(
    "forged", [*FORGED, cursor(1), cursor("2026-01-31", "no zone"), cursor(NOON.isoformat(), "\0")]
)
def test_a_forged_cursor_of_batches_is_a_bad_request(forged: str) -> None:
    with pytest.raises(Problem, match="cursor"):
        QueryParams({"cursor": forged}, KNOWN).batch_cursor()


@pytest.mark.parametrize("forged", [*FORGED, cursor("1"), cursor(2**63), cursor(1.5)])
def test_a_forged_cursor_of_dead_letters_is_a_bad_request(forged: str) -> None:
    with pytest.raises(Problem, match="cursor"):
        QueryParams({"cursor": forged}, KNOWN).letter_cursor()

"""Query parameters are read strictly, and a cursor decodes to the position that it was made of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from els_stream.web.problems import Problem
from els_stream.web.query_params import QueryParams, encode_cursor

KNOWN = ("state", "older_than")
NOON = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
FORGED = [
    *("", "x", "%%%", "AAAA", "é"),
    *(
        encode_cursor(),
        encode_cursor("a", "b"),
        encode_cursor(1, 2),
        encode_cursor(NOON.isoformat()),
        encode_cursor(-1),
    ),
]


def test_parameters_are_read_and_absent_ones_have_defaults() -> None:
    params = QueryParams({"state": "open", "older_than": "90m", "limit": "200"}, KNOWN)

    assert params.one_of("state", ["open"]) == "open"
    assert params.age("older_than") == timedelta(minutes=90)
    assert params.limit() == 200
    assert QueryParams({}, KNOWN).one_of("state", ["open"]) is None
    assert QueryParams({}, KNOWN).limit() == 50


@pytest.mark.parametrize("name", ["stat", "Limit", "younger_than"])
def test_an_unknown_parameter_is_rejected(name: str) -> None:
    with pytest.raises(Problem, match=r"no parameter .*; there are: cursor, limit, older_than, state"):
        QueryParams({name: "x"}, KNOWN)


@pytest.mark.parametrize(
    ("read", "query"),
    [
        (lambda params: params.one_of("state", ["open"]), {"state": "closed"}),
        (lambda params: params.age("older_than"), {"older_than": "1w"}),
        (lambda params: params.age("older_than"), {"older_than": "9999999d"}),
        (lambda params: params.age("older_than"), {"older_than": "٣d"}),
        (lambda params: params.limit(), {"limit": "0"}),
        (lambda params: params.limit(), {"limit": "201"}),
        (lambda params: params.limit(), {"limit": "-1"}),
        (lambda params: params.limit(), {"limit": "many"}),
    ],
)
def test_a_value_that_is_not_allowed_is_a_bad_request(
    read: Callable[[QueryParams], object], query: dict[str, str]
) -> None:
    with pytest.raises(Problem) as caught:
        read(QueryParams(query, KNOWN))

    assert caught.value.status == 400


@pytest.mark.parametrize("batch_id", ["batch", 'a/b"c', "å😀", " "])
def test_a_cursor_decodes_to_its_position(batch_id: str) -> None:
    params = QueryParams({"cursor": encode_cursor(NOON.isoformat(), batch_id)}, KNOWN)

    assert params.batch_cursor() == (NOON, batch_id)
    assert QueryParams({"cursor": encode_cursor(42)}, KNOWN).dead_letter_cursor() == 42


@pytest.mark.parametrize(
    "forged",
    [*FORGED, encode_cursor(1), encode_cursor("2026-01-31", "no zone"), encode_cursor(NOON.isoformat(), "\0")],
)
def test_a_forged_cursor_of_batches_is_a_bad_request(forged: str) -> None:
    with pytest.raises(Problem, match="cursor"):
        QueryParams({"cursor": forged}, KNOWN).batch_cursor()


@pytest.mark.parametrize("forged", [*FORGED, encode_cursor("1"), encode_cursor(2**63), encode_cursor(1.5)])
def test_a_forged_cursor_of_dead_letters_is_a_bad_request(forged: str) -> None:
    with pytest.raises(Problem, match="cursor"):
        QueryParams({"cursor": forged}, KNOWN).dead_letter_cursor()

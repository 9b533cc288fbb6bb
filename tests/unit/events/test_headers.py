import pytest
from hypothesis import given
from hypothesis import strategies as st

from els_stream.events.headers import Headers, decode_headers, encode_headers, encode_own_headers, own_headers

OWN = own_headers(b"an id", b"a topic", b"a chain of causes", "årskurs 9".encode(), b"noon")
TRACED = own_headers(b"an id", b"a topic", b"a chain of causes", b"class 9b", b"noon", b"00-trace-01")


@given(st.lists(st.tuples(st.text(), st.binary())).map(tuple))
def test_any_headers_are_decoded_as_they_were(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert decode_headers(encode_headers(headers)) == headers


def test_the_stored_form_is_json() -> None:
    stored = encode_headers((("ce_type", b"essay"), ("odd", b"\x00\xff"), ("ce_type", b"again")))

    assert stored == b'[["ce_type","essay"],["odd","\\u0000\\u00ff"],["ce_type","again"]]'


def test_no_headers_are_an_empty_list() -> None:
    assert encode_headers(()) == b"[]"
    assert decode_headers(b"[]") == ()


@pytest.mark.parametrize("headers", [OWN, TRACED])
def test_headers_of_own_events_are_stored_as_their_values_only(headers: Headers) -> None:
    stored = encode_headers(headers)

    assert decode_headers(stored) == headers
    assert stored.count(b"an id") == 1, f"each value is stored once: {stored!r}"


@pytest.mark.parametrize(("headers", "trace"), [(OWN, None), (TRACED, "00-trace-01")])
def test_own_headers_are_encoded_alike_without_being_built(headers: Headers, trace: str | None) -> None:
    batch_id = dict(headers)["ce_subject"]
    stored = encode_own_headers("an id", "a topic", "a chain of causes", batch_id, "noon", trace)
    assert stored == encode_headers(headers)


@pytest.mark.parametrize("changed", range(len(TRACED)))
def test_headers_similar_to_own_ones_are_decoded_as_they_were(changed: int) -> None:
    for similar in (
        (*TRACED[:changed], (TRACED[changed][0], b"other"), *TRACED[changed + 1 :]),
        (*TRACED[:changed], ("other", TRACED[changed][1]), *TRACED[changed + 1 :]),
        (*TRACED[:changed], *TRACED[changed + 1 :]),
    ):
        assert decode_headers(encode_headers(similar)) == similar


def test_rows_of_an_older_release_are_decoded() -> None:
    stored = b'[["event_id","1"],["event_type","t"],["ce_id","1"]]'

    assert decode_headers(stored) == (("event_id", b"1"), ("event_type", b"t"), ("ce_id", b"1"))

from hypothesis import given
from hypothesis import strategies as st

from els_stream.contracts.headers import decode_headers, encode_headers


@given(st.lists(st.tuples(st.text(), st.binary())).map(tuple))
def test_any_headers_come_back_as_they_were(headers: tuple[tuple[str, bytes], ...]) -> None:
    assert decode_headers(encode_headers(headers)) == headers


def test_stored_form_is_plain_json_that_other_code_can_read() -> None:
    stored = encode_headers((("ce_type", b"essay"), ("odd", b"\x00\xff"), ("ce_type", b"again")))

    assert stored == b'[["ce_type","essay"],["odd","\\u0000\\u00ff"],["ce_type","again"]]'


def test_no_headers_are_an_empty_list() -> None:
    assert encode_headers(()) == b"[]"
    assert decode_headers(b"[]") == ()

"""The cheap look at every value: what a reader took for good may still hold poison where we ignore it.

It may cry wolf, and costs a few microseconds; `inspection` then says what is true.
"""

import re
from typing import Final

from els_stream.events.json_checks import LONGEST_INTEGER, MAX_DEPTH

# All digits as one, and all brackets: a fixed string then finds a long number.
_FOLDED: Final = bytes.maketrans(b"123456789{", b"000000000[")
_LONG_NUMBER: Final = b"0" * (LONGEST_INTEGER - 1)

# Digits and signs away, and all that may stand around a number as one: an exponent stands alone then.
_BARE: Final = bytes.maketrans(b"E:,[]{}\t\r\n", b"e         ")
_IN_NUMBERS: Final = b"0123456789+-."
_EXPONENT: Final = re.compile(rb" e ")  # found sooner than by `in`

# What RFC 3339 writes of UTC, up to microseconds. Any other time may be read in two ways, or not at all.
_ODD_TIME: Final = re.compile(rb':00:00(?!(?:\.0{1,6})?(?:Z|\+00:00)")')
_NO_OFFSET: Final = b'+00:00"'


def looks_suspect(value: bytes) -> bool:
    """Whether JSON that a reader accepted may still hold poison; false means that it holds none."""
    if b"NaN" in value or b"Infinity" in value or (b"\\" in value and _holds_bad_escape(value)):
        return True
    return _holds_bad_number_or_is_deep(value, value.translate(_FOLDED))


def looks_plain(value: bytes) -> bool:
    """Whether JSON without NaN and Infinity holds no poison, nor a time that is not written as UTC ordinarily is."""
    if b"\\" in value and (_holds_bad_escape(value) or _holds_escaped_digit(value)):
        return False
    folded = value.translate(_FOLDED)
    return not (_holds_odd_time(value, folded) or _holds_bad_number_or_is_deep(value, folded))


def _holds_bad_number_or_is_deep(value: bytes, folded: bytes) -> bool:
    if folded.count(b"[") > MAX_DEPTH or _LONG_NUMBER in folded:
        return True
    return _EXPONENT.search(value.translate(_BARE, _IN_NUMBERS)) is not None


def _holds_bad_escape(value: bytes) -> bool:
    """NUL, or half of a pair of surrogates: often a whole pair, which is legal."""
    return b"\\u0000" in value or b"\\ud" in value or b"\\uD" in value


def _holds_escaped_digit(value: bytes) -> bool:
    """Or a sign, a point, a colon: what times are written with."""
    return b"\\u002" in value or b"\\u003" in value


def _holds_odd_time(value: bytes, folded: bytes) -> bool:
    """Folded, any offset looks like none."""
    return _ODD_TIME.search(folded) is not None or (
        b"+" in value and folded.count(_NO_OFFSET) != value.count(_NO_OFFSET)
    )

"""The cheap look at every value: what a reader took for good may still hold poison where we ignore it.

It may cry wolf, and costs a few microseconds; `inspection` then says what is true.
"""

from typing import Final

from els_stream.contracts.inspection import LONGEST_INTEGER, MAX_DEPTH

# All digits as one, so that a fixed string finds a long number.
_DIGITS_AS_ONE: Final = bytes.maketrans(b"123456789.", b"0000000000")
_LONG_NUMBER: Final = b"0" * (LONGEST_INTEGER - 1)
_LONG_FRACTION_OF_SECONDS: Final = b":00:0000000000"
_SHORTER_THAN_BOTH: Final = b"0" * 10

# Digits and signs away, and all that may stand around a number as one: an exponent stands alone then.
_AROUND_NUMBERS: Final = bytes.maketrans(b"E,[]{} \t\r\n", b"e         ")
_IN_NUMBERS: Final = b"0123456789+-."


def looks_suspect(value: bytes) -> bool:
    """Whether JSON that a reader accepted may still hold poison; false means that it holds none."""
    return (
        b"NaN" in value
        or b"Infinity" in value
        or (b"\\" in value and _holds_bad_escape(value))
        or _is_deep(value)
        or _LONG_NUMBER in value.translate(_DIGITS_AS_ONE)
        or _holds_exponent(_without_digits(value))
    )


def looks_plain(value: bytes) -> bool:
    """Whether JSON without NaN and Infinity holds no poison, and no time that a reader may take for another.

    Such are times without zone, with an offset other than `+00:00`, and with more than six digits of a second.
    """
    if b"\\" in value and (_holds_bad_escape(value) or _holds_escaped_digit(value)):
        return False
    digits = value.translate(_DIGITS_AS_ONE)
    if _SHORTER_THAN_BOTH in digits and (_LONG_NUMBER in digits or _LONG_FRACTION_OF_SECONDS in digits):
        return False
    bare = _without_digits(value)
    return not (_is_deep(value) or _holds_exponent(bare) or _holds_odd_time(value, bare))


def _without_digits(value: bytes) -> bytes:
    return value.translate(_AROUND_NUMBERS, _IN_NUMBERS)


def _holds_bad_escape(value: bytes) -> bool:
    """NUL, or half of a pair of surrogates: often a whole pair, which is legal."""
    return b"\\u0000" in value or b"\\ud" in value or b"\\uD" in value


def _holds_escaped_digit(value: bytes) -> bool:
    """Or a sign, a point, a colon: what times are written with."""
    return b"\\u002" in value or b"\\u003" in value


def _is_deep(value: bytes) -> bool:
    return value.count(b"[") + value.count(b"{") > MAX_DEPTH


def _holds_exponent(bare: bytes) -> bool:
    return b":e " in bare or b" e " in bare


def _holds_odd_time(value: bytes, bare: bytes) -> bool:
    """Without its digits, a time that does not end in Z ends in colons; those of the offset `+00:00` are no matter."""
    return b'::"' in bare and bare.count(b'::"') != value.count(b'+00:00"')

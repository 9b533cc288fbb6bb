"""Checks of a JSON value that are independent of its contract and include unknown fields.

`check_json` is complete and slow (linear in the size). `is_simple` and `needs_full_check` are prefilters of a few
microseconds: they may report a good value, and never miss a bad one.
"""

import json
import re
from typing import Final, NoReturn

from pydantic import JsonValue

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.violation import ContractViolation

MAX_VALUE_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 100

_LARGEST_INTEGER: Final = 2**63 - 1
_SMALLEST_INTEGER: Final = -(2**63)
_LONGEST_INTEGER: Final = len(str(_SMALLEST_INTEGER))

# The closing quote is optional and no group backtracks: an unterminated string would cost the square of its length.
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_BAD_CHARACTER: Final = re.compile(r"[\x00\ud800-\udfff]")

# Maps all digits to 0 and all brackets to [, so that a fixed string finds a long number.
_NORMALIZED: Final = bytes.maketrans(b"123456789{", b"000000000[")
_LONG_NUMBER: Final = b"0" * (_LONGEST_INTEGER - 1)

# Maps all that may stand before a number to a colon, and the digits and the point to 0: what a number with an exponent
# begins with is then found by the colon. Strings are searched too, where this is rare.
_NUMBERS: Final = bytes.maketrans(b",[{ \t\r\n123456789.E", b":::::::0000000000e")
_EXPONENT: Final = re.compile(rb":-?0+e")

# The decoders agree on times as RFC 3339 writes UTC, with up to six digits of a second. They may differ on any other.
_NOT_PLAIN_UTC: Final = re.compile(rb':00:00(?!(?:\.0{1,6})?(?:Z|\+00:00)")')
_UTC_OFFSET: Final = b'+00:00"'


def needs_full_check(value: bytes) -> bool:
    """Return whether JSON that pydantic accepted may fail `check_json`; False is certain."""
    if b"NaN" in value or b"Infinity" in value or (b"\\" in value and _has_bad_escape(value)):
        return True
    return _has_long_number_or_depth(value, value.translate(_NORMALIZED))


def is_simple(value: bytes) -> bool:
    """Return whether JSON without NaN and Infinity passes `check_json` and writes all times as plain UTC.

    True is certain.
    """
    if b"\\" in value and (_has_bad_escape(value) or _has_escaped_digit(value)):
        return False
    normalized = value.translate(_NORMALIZED)
    return not (_has_other_time(value, normalized) or _has_long_number_or_depth(value, normalized))


def _has_long_number_or_depth(value: bytes, normalized: bytes) -> bool:
    if normalized.count(b"[") > MAX_DEPTH or _LONG_NUMBER in normalized:
        return True
    return _EXPONENT.search(value.translate(_NUMBERS)) is not None


def _has_bad_escape(value: bytes) -> bool:
    """Return whether a NUL or a surrogate is escaped; most surrogates are half of a valid pair."""
    return b"\\u0000" in value or b"\\ud" in value or b"\\uD" in value


def _has_escaped_digit(value: bytes) -> bool:
    """Return whether a character that times are written with (digit, sign, point, colon) is escaped."""
    return b"\\u002" in value or b"\\u003" in value


def _has_other_time(value: bytes, normalized: bytes) -> bool:
    """Return whether a time is not plain UTC.

    In the normalized value every offset reads `+00:00`, so the value must contain as many real ones.
    """
    return _NOT_PLAIN_UTC.search(normalized) is not None or (
        b"+" in value and normalized.count(_UTC_OFFSET) != value.count(_UTC_OFFSET)
    )


def check_json(value: bytes | None) -> JsonValue:
    """Return the parsed value.

    Raises ContractViolation for a value that is missing, too large, not UTF-8, not JSON (RFC 8259) or nested deeper
    than MAX_DEPTH, and for one that holds a number beyond 64 bits, a NUL character or a lone surrogate.
    """
    text = _decoded(check_size(value))
    _check_depth(text)
    try:
        tree: JsonValue = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ContractViolation(DeadLetterReason.NOT_JSON, f"not JSON at character {error.pos}") from None
    _check_text(tree)
    return tree


def check_size(value: bytes | None) -> bytes:
    """Return the value; raises ContractViolation if it is missing or has more than MAX_VALUE_BYTES bytes."""
    if value is None:
        raise ContractViolation(DeadLetterReason.VALUE_MISSING, "the record has no value")
    if len(value) > MAX_VALUE_BYTES:
        message = f"{len(value)} bytes where at most {MAX_VALUE_BYTES} are read"
        raise ContractViolation(DeadLetterReason.VALUE_TOO_LARGE, message)
    return value


def _decoded(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        if _has_surrogates(value):
            raise _bad_text() from None
        raise ContractViolation(DeadLetterReason.NOT_JSON, f"not UTF-8 at byte {error.start}") from None


def _has_surrogates(value: bytes) -> bool:
    try:
        value.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _check_depth(text: str) -> None:
    """Check the depth before parsing, since a parser recurses."""
    depth = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
                if depth > MAX_DEPTH:
                    raise ContractViolation(DeadLetterReason.TOO_DEEP, f"nested deeper than {MAX_DEPTH} levels")
            case "]" | "}":
                depth -= 1
            case _:
                pass


def _check_text(tree: JsonValue) -> None:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            if _BAD_CHARACTER.search(node):
                raise _bad_text()
        elif isinstance(node, dict):
            waiting.extend(node.keys())
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _bad_text() -> ContractViolation:
    return ContractViolation(DeadLetterReason.BAD_TEXT, "a string holds a NUL character or a lone surrogate")


def _integer(literal: str) -> int:
    # Check the length first: parsing a million digits takes minutes, and Python raises another error for them.
    if len(literal) > _LONGEST_INTEGER or not _SMALLEST_INTEGER <= (number := int(literal)) <= _LARGEST_INTEGER:
        raise ContractViolation(DeadLetterReason.NUMBER_OUT_OF_RANGE, "an integer needs more than 64 bits")
    return number


def _fraction(literal: str) -> float:
    number = float(literal)
    if number in {float("inf"), float("-inf")}:
        raise ContractViolation(DeadLetterReason.NUMBER_OUT_OF_RANGE, "a number is too large for a double")
    return number


def _no_constant(literal: str) -> NoReturn:
    raise ContractViolation(DeadLetterReason.NOT_JSON, f"{literal} is not JSON")


_DECODER: Final = json.JSONDecoder(parse_int=_integer, parse_float=_fraction, parse_constant=_no_constant)

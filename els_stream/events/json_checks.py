"""What makes a value poison whatever its shape: judged over the whole value, fields that we ignore included.

`inspect` is exact, slow, and linear in the size. A reader is right if it hands to it all that it refuses and all that
`looks_suspect` (see `suspicion`).
"""

import json
import re
from typing import Final, NoReturn

from pydantic import JsonValue

from els_stream.events.dead_letter_reasons import DeadLetterReason
from els_stream.events.violation import ContractViolation

MAX_VALUE_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 100

_LARGEST: Final = 2**63 - 1
_SMALLEST: Final = -(2**63)
LONGEST_INTEGER: Final = len(str(_SMALLEST))

# The closing quote is optional and nothing backtracks: else a string that never ends costs the square of its length.
_STRING_OR_BRACKET: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_BAD_CHARACTER: Final = re.compile(r"[\x00\ud800-\udfff]")


def inspect(value: bytes | None) -> JsonValue:
    """The parsed value if it is free of poison; raises ContractViolation, and nothing else, where it is not."""
    text = _decoded(of_legal_size(value))
    _check_depth(text)
    try:
        tree: JsonValue = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ContractViolation(DeadLetterReason.NOT_JSON, f"not JSON at character {error.pos}") from None
    _check_text(tree)
    return tree


def of_legal_size(value: bytes | None) -> bytes:
    """The value, where there is one that is not too large to be read at all."""
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
        if _holds_surrogates(value):
            raise _bad_text() from None
        raise ContractViolation(DeadLetterReason.NOT_JSON, f"not UTF-8 at byte {error.start}") from None


def _holds_surrogates(value: bytes) -> bool:
    try:
        value.decode(errors="surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _check_depth(text: str) -> None:
    """A parser recurses, so what is too deep must be known before one sees it."""
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
    # The length first: to parse a number of a million digits takes minutes, and Python refuses it with another error.
    if len(literal) > LONGEST_INTEGER or not _SMALLEST <= (number := int(literal)) <= _LARGEST:
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

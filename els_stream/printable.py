"""Text that came from outside, on a terminal: nothing of it may move the cursor, colour or hide what is around it."""

from __future__ import annotations


def plain(text: str) -> str:
    """On one line; what is not printable is shown escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def lines(text: str) -> str:
    """As `plain`, but line ends stay."""
    return "\n".join(plain(line) for line in text.split("\n"))


def decoded(raw: bytes) -> str:
    """As text where it is UTF-8, its bytes in hexadecimal where not."""
    return lines(raw.decode("utf-8", errors="backslashreplace"))

"""Text from outside made safe for a terminal: it can't move the cursor, change colours or hide other text."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return the text on one line, with unprintable characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def lines(text: str) -> str:
    """Return the text with unprintable characters escaped, except line ends."""
    return "\n".join(plain(line) for line in text.split("\n"))


def decoded(raw: bytes) -> str:
    """Decode UTF-8 for output; invalid bytes become hexadecimal escapes."""
    return lines(raw.decode("utf-8", errors="backslashreplace"))

"""Events that came before their batch: how a repeat of one is recognized."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class PendingKind(StrEnum):
    """The kinds of pending events; a CHECK in the database repeats them."""

    CONTENT = "content_provisioned"
    FAILURE = "validation_failed"
    ASSOCIATIONS = "associations_confirmed"


class PendingKey(NamedTuple):
    """Identifies a pending event within its batch; `subject` is an upload id, or the event id of associations.

    A content is known by its upload and not by its text: the same text of another upload may have to stand in for it,
    should that upload be refused.
    """

    kind: PendingKind
    subject: str

"""The name of the person who runs a command, for the audit rows."""

from __future__ import annotations

import getpass
import os


def operator_name() -> str:
    """Return the user's name; in a pod with an arbitrary user id, which has none, the id."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"

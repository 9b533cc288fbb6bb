"""A process as in a restricted pod: a user id without a name, a read-only file system without a writable /tmp."""

from __future__ import annotations

import os
from typing import Final

USER_ID: Final = 54_321

_READ_ONLY: Final = """
mount -o remount,ro,bind / || exit 99
for place in /tmp /var/tmp /dev/shm; do
    if mountpoint -q $place; then mount -o remount,ro,bind $place || exit 99; fi
done
"""
_IN_USER_NAMESPACE: Final = f"""{_READ_ONLY}
exec unshare --user --map-user={USER_ID} --map-group=0 setpriv --no-new-privs "$@"
"""


def in_pod(*command: str) -> list[str]:
    """Return the command with its pod around it: namespaces of its own, which end with it.

    The user id is another one only inside: files of this account, also below its private folders, can be read as those
    of an image can.
    """
    to_mount = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *to_mount, "--mount", "sh", "-c", _IN_USER_NAMESPACE, "pod", *command]


def pod_environment(**settings: str) -> dict[str, str]:
    """Return the environment of a pod in a namespace with a Service `els-web`, with these settings."""
    link = "tcp://10.43.7.12:6066"
    return {
        "PATH": os.environ["PATH"],
        "ELS_WEB_SERVICE_HOST": "10.43.7.12",
        "ELS_WEB_SERVICE_PORT": "6066",
        "ELS_WEB_PORT": link,
        "ELS_WEB_PORT_6066_TCP": link,
        "ELS_WEB_PORT_6066_TCP_ADDR": "10.43.7.12",
        **settings,
    }

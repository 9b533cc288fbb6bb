"""The account `nobody` for PostgreSQL, which refuses to run as root, and folders that this account can reach.

No account is created and no permission of a parent folder is changed. If `nobody` cannot reach a folder (for example
below /root), a folder below SHARED is used instead, which belongs to root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

SHARED = Path("/var/lib/els_stream")
PASSABLE = stat.S_IXOTH
READABLE = stat.S_IRGRP | stat.S_IROTH


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return the account for the server, or None if it may run as the present user."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def reachable(folder: Path) -> bool:
    return all(parent.stat().st_mode & PASSABLE for parent in (folder, *folder.parents))


def private_folder(link: Path, account: pwd.struct_passwd | None) -> Path:
    """Create a folder for the account only; if it cannot be reached, make a link to a folder below SHARED.

    Returns the resolved path.
    """
    if not link.exists():
        link.unlink(missing_ok=True)
        if account is None or reachable(link.parent.resolve()):
            link.mkdir(mode=0o700)
        else:
            SHARED.mkdir(mode=0o755, exist_ok=True)
            link.symlink_to(tempfile.mkdtemp(prefix=f"{link.name}-", dir=SHARED))
        if account is not None:
            os.chown(link, account.pw_uid, account.pw_gid)
    return link.resolve()


def reachable_copy(name: str, folders: Iterable[Path], account: pwd.struct_passwd | None) -> Path:
    """Return the parent of these sibling folders, or of a copy that the account can read."""
    sources = list(folders)
    if account is None or all(reachable(folder.resolve()) for folder in sources):
        return sources[0].parent
    copy = SHARED / name
    if not copy.exists():
        SHARED.mkdir(mode=0o755, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=SHARED))
        for source in sources:
            shutil.copytree(source, draft / source.name, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | READABLE | (0o011 if mode & stat.S_IXUSR else 0))
        try:
            draft.rename(copy)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return copy


def remove_folder(link: Path) -> None:
    target = link.resolve()
    if link.is_symlink():
        link.unlink()
    shutil.rmtree(target, ignore_errors=True)

"""Running PostgreSQL, which refuses root, when we are root: as `nobody`, in a folder that it can reach.

No account is made and no permission on the way to the checkout is changed. What lies where others can't go (a
checkout below /root, say) has its place below SHARED instead, which belongs to root.
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
    """None where the server may run as ourselves."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def reachable(folder: Path) -> bool:
    return all(parent.stat().st_mode & PASSABLE for parent in (folder, *folder.parents))


def private_folder(link: Path, account: pwd.struct_passwd | None) -> Path:
    """A folder for the account alone; where it can't go there, the path becomes a link to one that it can."""
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
    """The parent of these sibling folders, or that of a readable copy of them."""
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
        except OSError:  # another start was quicker
            shutil.rmtree(draft)
    return copy


def remove_folder(link: Path) -> None:
    target = link.resolve()
    if link.is_symlink():
        link.unlink()
    shutil.rmtree(target, ignore_errors=True)

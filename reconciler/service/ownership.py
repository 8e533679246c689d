"""The owners of a service's files. Its Python half runs as the user of pcn, its C in the kernel: root trusts root's files
only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from reconciler.errors import NotTrusted

_KINDS = (".schema.json", ".c", ".h", ".py", ".pyc")


def refuse_others(directory: str | Path) -> None:
    """Raise NotTrusted if root is to use a directory that others can write to, or with files that others own. For an ordinary
    user nothing is checked: what they run is their choice."""
    if os.geteuid() != 0:
        return
    from reconciler.kernel import trusted  # most commands name no directory, and need no system calls

    owner = os.stat(__file__).st_uid  # of pcn's own code, who is believed already
    path = os.path.abspath(directory)
    fd = trusted.open_directory(path, also=owner)
    try:
        for entry in os.scandir(fd):
            if entry.name.endswith(_KINDS):
                _refuse_file(os.path.join(path, entry.name), owner)
            elif entry.name == "__pycache__":
                refuse_others(os.path.join(path, entry.name))
    finally:
        os.close(fd)


def _refuse_file(path: str, owner: int) -> None:
    from reconciler.kernel import trusted

    about = os.stat(path)
    why = trusted.why_not(os.lstat(path), owner) or trusted.why_not(about, owner)
    if not why and not stat.S_ISREG(about.st_mode):
        why = "is no regular file"
    if why:
        raise NotTrusted(f"{path} {why}, so the services there are not used: what runs as root must be root's")
    if os.path.islink(path):
        os.close(trusted.open_directory(os.path.dirname(os.path.realpath(path)), also=owner))

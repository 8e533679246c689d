"""The Linux version. Features are probed where possible (see features); the version decides the others."""

from __future__ import annotations

import os
import re


def release() -> str:
    """The kernel's release, such as '6.12.117+deb13-cloud-amd64'."""
    return os.uname().release


def version(text: str) -> tuple[int, int, int] | None:
    """The leading numbers of a release or a requirement, such as 6.18.0-rc1, 7.3+ or 6.1; None if there are none."""
    found = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", text)
    return (int(found[1]), int(found[2] or 0), int(found[3] or 0)) if found else None


def is_older_than(least: str) -> bool:
    """Whether this kernel is older than a version; False if either cannot be parsed."""
    running, needed = version(release()), version(least)
    return running is not None and needed is not None and running < needed

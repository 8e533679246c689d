"""Which kinds of netdev this kernel can make: asked without making one, and without loading a module."""
from __future__ import annotations

import os
import platform
from pathlib import Path

from reconciler.kernel import rtnl

_ALIASES = Path("/lib/modules")


def can_make(kind: str) -> bool:
    """Whether a netdev of this kind can be created: the kernel knows the kind, or has a module of it to load. Where the modules
    of this kernel are not to be seen (in a container), True: the kernel may find them all the same."""
    return _knows(kind) or _has_module(kind)


def _knows(kind: str) -> bool:
    """A dump of one kind omits all others; of a kind that the kernel does not know, it omits nothing, not even lo,
    which has no kind and is in every network namespace."""
    return all(netdev.kind == kind for netdev in rtnl.links_of_kind(kind))


def _has_module(kind: str) -> bool:
    if not os.path.exists("/proc/modules"):
        return False  # this kernel loads none
    try:
        aliases = (_ALIASES / platform.release() / "modules.alias").read_text("utf-8", "replace")
    except OSError:
        return True
    return any(line.split()[1:2] == [f"rtnl-link-{kind}"] for line in aliases.splitlines())

"""Kinds of netdevs that this kernel can create, found without creating one, and without loading a module."""
from __future__ import annotations

import os
import platform
from pathlib import Path

from reconciler.kernel import rtnl

_ALIASES = Path("/lib/modules")


def can_make(kind: str) -> bool:
    """Whether a netdev of this kind can be created: the kind is registered, or a module of it can be loaded. True if this
    kernel's modules are not visible (in a container), since the kernel may still find them."""
    return _knows(kind) or _has_module(kind)


def _knows(kind: str) -> bool:
    """Whether the kind is registered: then a dump filtered by it omits all others; else it is not filtered, and has at least lo,
    which has no kind."""
    return all(netdev.kind == kind for netdev in rtnl.links_of_kind(kind))


def _has_module(kind: str) -> bool:
    if not os.path.exists("/proc/modules"):
        return False  # this kernel has no loadable modules
    try:
        aliases = (_ALIASES / platform.release() / "modules.alias").read_text("utf-8", "replace")
    except OSError:
        return True
    return any(line.split()[1:2] == [f"rtnl-link-{kind}"] for line in aliases.splitlines())

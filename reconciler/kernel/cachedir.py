"""Where what can be created again is kept: compiled programs, and answers of services elsewhere."""

from __future__ import annotations

import os
from pathlib import Path


def directory() -> Path:
    """$PCN_CACHE, or the system's cache for root, or the user's."""
    if chosen := os.environ.get("PCN_CACHE"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/cache/pcn")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pcn"

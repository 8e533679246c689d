"""The directory of caches: compiled programs, and responses of remote services."""

from __future__ import annotations

import os
from pathlib import Path


def directory() -> Path:
    """$PCN_CACHE, or else /var/cache/pcn for root, and ~/.cache/pcn for other users."""
    if chosen := os.environ.get("PCN_CACHE"):
        return Path(chosen)
    if os.geteuid() == 0:
        return Path("/var/cache/pcn")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pcn"

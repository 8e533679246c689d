"""What pcn doctor finds out, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

OK, MISSING, LIMITED, UNKNOWN = "ok", "missing", "limited", "unknown"
"""missing: nothing works. limited: something does not, or is slower. unknown: only root can tell."""


@dataclass(frozen=True, slots=True)
class Check:
    """`found` is what was met, `blocks` what it keeps from working, `mend` what to do; both empty if all is well."""

    name: str
    status: str
    found: str
    blocks: str = ""
    mend: str = ""

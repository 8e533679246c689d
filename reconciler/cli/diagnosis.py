"""Results of pcn doctor, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

OK, MISSING, LIMITED, UNKNOWN = "ok", "missing", "limited", "unknown"
"""missing: nothing works. limited: something does not work, or is slower. unknown: needs root to determine."""


@dataclass(frozen=True, slots=True)
class Check:
    """`found`: the observation; `blocks`: what cannot work; `mend`: the remedy; both empty if all is well."""

    name: str
    status: str
    found: str
    blocks: str = ""
    mend: str = ""

"""The annotations by which a topology requests a trial: it is kept only if a TCP probe from the host succeeds.

    metadata:
      annotations: {pcn/try: 30s, pcn/probe: "10.0.0.1:443"}

If no connection to that address and port succeeds within that time after the apply, the agent rolls it back.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.document import Document, Path

TRY, PROBE = "pcn/try", "pcn/probe"
LONGEST = 600.0  # seconds
_SECONDS = re.compile(r"(\d{1,4}(?:\.\d{1,3})?)(s|m|)")
_PLACE = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})")


@dataclass(frozen=True, slots=True)
class Terms:
    """`probe` is an address and a TCP port."""

    seconds: float
    probe: tuple[str, int]

    @property
    def place(self) -> str:
        address, port = self.probe
        return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def terms(document: Document) -> Terms | None:
    """None for a topology that requests no trial. `wrong` has the errors."""
    metadata = document.data.get("metadata") if isinstance(document.data, Mapping) else None
    said = metadata.get("annotations") if isinstance(metadata, Mapping) else None
    if not isinstance(said, Mapping) or TRY not in said or list(wrong(said)):
        return None
    seconds, probe = _seconds(said[TRY]), _place(said[PROBE])
    assert seconds is not None
    assert probe is not None
    return Terms(seconds, probe)


def wrong(said: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """The errors of annotations: (path, message)."""
    if TRY in said and _seconds(said[TRY]) is None:
        yield (TRY,), f"expected a time of at most {LONGEST:g} seconds, such as 30s or 5m"
    if PROBE in said and _place(said[PROBE]) is None:
        yield (PROBE,), 'expected an address and a TCP port, such as "10.0.0.1:443" or "[fd00::1]:443"'
    for one, other in ((TRY, PROBE), (PROBE, TRY)):
        if one in said and other not in said:
            yield (one,), f"{one} goes with {other}: what must be reached, and within which time"


def _seconds(text: Any) -> float | None:
    found = _SECONDS.fullmatch(text) if isinstance(text, str) else None
    seconds = float(found[1]) * (60 if found[2] == "m" else 1) if found else 0.0
    return seconds if 0 < seconds <= LONGEST else None


def _place(text: Any) -> tuple[str, int] | None:
    found = _PLACE.fullmatch(text) if isinstance(text, str) else None
    if found is None or not 0 < int(found[3]) < 1 << 16:
        return None
    try:
        return str(ipaddress.ip_address(found[1] or found[2])), int(found[3])
    except ValueError:
        return None

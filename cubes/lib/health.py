"""Health checks of a load balancer's backends: probes, verdicts, and how the mapping learns of them.

A backend's worker probes it, and counts results (`judged`). Backends to be left out are the fact `health`: the digests of
their keys, since a fact is a page at most. A backend without a report counts as up.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler.service.sdk import TableRows, memoised

FACT = "health"
MOST_DOWN = 400  # that are left out at once: a fact has at most 3500 bytes
MOST_CHECKED = 16384  # rows of the table `health`
ERRORS = {  # enum health_error in bpf/lib/health.h
    "NONE": 0, "REFUSED": 1, "TIMEOUT": 2, "UNREACHABLE": 3, "CLOSED": 4, "NO_HTTP": 5, "STATUS": 6,
}  # fmt: skip
_DIGITS = 8
_ROW = struct.Struct("=IIII")  # struct health: healthy, since, error, status

TABLE = {"health": TableRows(state=True)}

Config = Mapping[str, Any]
Rows = Mapping[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Target:
    """A backend that is probed. `key`: of its row in `health`. `http` empty: the probe is a TCP connect; else it is the
    request, and `status` the expected response."""

    key: bytes
    name: str
    address: str
    port: int
    interval: int
    timeout: int
    rise: int
    fall: int
    http: bytes = b""
    status: int = 200


@dataclass(frozen=True, slots=True)
class Verdict:
    """`since`: CLOCK_MONOTONIC, seconds. `against`: how many consecutive results contradict it. `error`: of the last failure."""

    healthy: bool = True
    since: int = 0
    error: str = "NONE"
    status: int = 0
    against: int = 0


def target(said: Config, key: bytes, name: str, address: str, port: int) -> Target:
    """Of the container `health-check` that its service has."""
    http = b""
    port = said.get("port", port)
    if said.get("type", "TCP") == "HTTP":
        host = said.get("host") or (f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
        lines = (f"GET {said.get('path', '/')} HTTP/1.1", f"Host: {host}", "User-Agent: pcn", "Connection: close", "", "")
        http = "\r\n".join(lines).encode()
    times = (said.get("interval", 5), said.get("timeout", 2), said.get("rise", 2), said.get("fall", 3))
    return Target(key, name, address, port, *times, http=http, status=said.get("status", 200))


def judged(before: Verdict, to: Target, error: str, status: int, now: float) -> Verdict:
    """After one more answer; `error` 'NONE': it was right."""
    good = error == "NONE"
    found = before if good else replace(before, error=error, status=status)
    if good == before.healthy:
        return replace(found, against=0)
    if before.against + 1 < (to.rise if good else to.fall):
        return replace(found, against=before.against + 1)
    return replace(found, healthy=good, since=int(now), against=0)


def judged_line(to: Target, line: bytes) -> tuple[str, int]:
    """(error, status) from the first line of a response."""
    words = line.split()
    if not to.http:
        return "NONE", 0
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit() or len(words[1]) != 3:
        return "NO_HTTP", 0
    status = int(words[1])
    return ("NONE", 0) if status == to.status else ("STATUS", status)


# -- rows, and the fact -----------------------------------------------------------------------------------------------


def row_of(verdict: Verdict) -> bytes:
    return _ROW.pack(verdict.healthy, verdict.since, ERRORS[verdict.error], verdict.status)


def of_row(row: bytes) -> Verdict:
    healthy, since, error, status = _ROW.unpack(row)
    return Verdict(bool(healthy), since, next((name for name, known in ERRORS.items() if known == error), "NONE"), status)


def shown(verdict: Verdict, now: int) -> dict[str, Any]:
    """As leaves of the models' state."""
    found: dict[str, Any] = {"healthy": verdict.healthy, "since": max(0, now - verdict.since), "last-error": verdict.error}
    return found | ({"last-status": verdict.status} if verdict.status else {})


@memoised
def digest(key: bytes) -> str:
    return base64.b64encode(hashlib.blake2b(key, digest_size=6).digest()).decode()


def fact_of(verdicts: Mapping[bytes, Verdict]) -> dict[str, str]:
    """Those that are omitted; of more than MOST_DOWN those that were first."""
    down = sorted((verdict.since, key) for key, verdict in verdicts.items() if not verdict.healthy)
    return {"down": "".join(sorted(digest(key) for _, key in down[:MOST_DOWN]))}


def down_of(facts: Mapping[str, Any]) -> frozenset[str]:
    text = facts.get(FACT, {}).get("down", "")
    return frozenset(text[at : at + _DIGITS] for at in range(0, len(text), _DIGITS))


def without_down(entries: Iterable[Config], keys: Iterable[bytes], down: Collection[str]) -> Iterator[Config]:
    """Backends, of which those that are omitted are as if they were configured so."""
    for entry, key in zip(entries, keys, strict=True):
        yield {**entry, "state": "DOWN"} if digest(key) in down else entry


# -- what no schema can say -------------------------------------------------------------------------------------------


def check_times(said: Config) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    if said.get("timeout", 2) > said.get("interval", 5):
        yield ("timeout",), f"a backend is asked again after {said.get('interval', 5)} s (interval), before this is over", "error"

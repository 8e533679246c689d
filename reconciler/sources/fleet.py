"""The statuses that the hosts of a fleet reported, in rows. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

SILENT = 90.0  # seconds without a status after which a host counts as away
APART = 5.0  # seconds of clock skew that are not reported


def read(texts: Iterable[str | bytes]) -> list[Mapping[str, Any]]:
    """The valid statuses among untrusted texts."""
    found: list[Mapping[str, Any]] = []
    for text in texts:
        with suppress(ValueError, RecursionError):
            said = json.loads(text)
            if isinstance(said, dict) and isinstance(said.get("host"), str) and all(_fits(said, name) for name in _EMPTY):
                found.append(said)
    return found


def _fits(said: Mapping[str, Any], name: str) -> bool:
    value = said.get(name, _EMPTY[name])
    if name in ("topologies", "problems"):
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    return isinstance(value, type(_EMPTY[name])) or (name == "time" and isinstance(value, int))


_EMPTY: Mapping[str, Any] = {
    "state": "", "revision": "", "topologies": [], "pending": 0, "drift": 0, "problems": [], "labels": {}, "time": 0.0,
}  # fmt: skip


def rows(statuses: Iterable[Mapping[str, Any]], now: float, *, forgets: bool = False) -> list[dict[str, Any]]:
    """One a host, by name. `state` is 'Away' for a silent host; `age` in seconds; `clock`: seconds by which its clock is
    ahead of ours (negative: behind), 0 if no skew is evident. `forgets`: statuses of silent hosts expire: an old one has skew."""
    found = []
    for said in statuses:
        ahead = float(said.get("time", 0)) - now
        clock = ahead if ahead > APART or (forgets and ahead < -SILENT) else 0.0
        row = {"host": said["host"], **{name: said.get(name, empty) for name, empty in _EMPTY.items()}}
        row |= {"age": 0.0 if clock else round(max(0.0, -ahead), 1), "clock": round(clock, 1)}
        found.append(row | ({"state": "Away"} if not clock and -ahead > SILENT else {}))
    return sorted(found, key=lambda row: str(row["host"]))


def as_text(found: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line a host, and below it the first line of each problem."""
    lines = []
    for row in found:
        counts = ", ".join(f"{row[name]} {name}" for name in ("pending", "drift") if row[name])
        topologies = ", ".join(row["topologies"] or ()) or "no topology"
        said = f"{row['host']:<20}  {row['state']:<17}  {str(row['revision'])[:12]:<12}  {row['age']:>6.0f} s ago  {topologies}"
        lines.append(said + (f"  ({counts})" if counts else ""))
        lines += [f"  {str(problem).splitlines()[0]}" for problem in row["problems"] or () if problem]
        if row["clock"]:
            lines.append(f"  its clock is {abs(row['clock']):.0f} s {'ahead of' if row['clock'] > 0 else 'behind'} this one's")
    return lines

"""What the hosts of a fleet have said of themselves, in rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SILENT = 90.0  # seconds without a word after which a host counts as away
_WORDS = ("state", "revision", "topologies", "pending", "drift", "problems", "labels", "time")


def rows(statuses: Iterable[Mapping[str, Any]], now: float) -> list[dict[str, Any]]:
    """One a host, by name. `state` is 'Away' for one that has been silent; `age` in seconds."""
    found = []
    for said in statuses:
        if not isinstance(said.get("host"), str):
            continue
        age = max(0.0, now - float(said.get("time", 0)))  # clocks may be apart
        row = {"host": said["host"], **{name: said.get(name) for name in _WORDS}, "age": round(age, 1)}
        found.append(row | ({"state": "Away"} if age > SILENT else {}))
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
    return lines

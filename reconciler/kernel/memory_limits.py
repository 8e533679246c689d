"""Available memory: of the machine, and within the limits of our memory cgroups.

The kernel charges a table to the cgroup of the process that creates it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FIRST = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"  # of cgroup v1; below, of v2
_SECOND = "memory.max", "memory.current", "inactive_file"
_NO_LIMIT = 1 << 60  # cgroup v1 has a number near 2^63 for none


@dataclass(frozen=True, slots=True)
class Available:
    """`by`: what sets the bound, for messages."""

    bytes: int
    by: str


def available(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> Available:
    """The least of all bounds; unreadable ones are ignored."""
    return min(_bounds(proc, cgroups), key=lambda bound: bound.bytes, default=Available(_NO_LIMIT, "nothing"))


def _bounds(proc: Path, cgroups: Path) -> Iterator[Available]:
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemAvailable:"):
            yield Available(int(line.split()[1]) * 1024, "the machine")
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            yield from _of_group(cgroups / "memory", path, _FIRST)
        elif not controllers:
            yield from _of_group(cgroups, path, _SECOND)


def _of_group(mount: Path, path: str, names: tuple[str, str, str]) -> Iterator[Available]:
    """The bounds of a cgroup and its parents. The inactive page cache counts as available."""
    limit, usage, reclaimable = names
    group = mount / path.lstrip("/")
    for each in (group, *group.parents):
        most, used = _number(each / limit), _number(each / usage)
        if most is not None and used is not None and most < _NO_LIMIT:
            cached = next((int(line.split()[1]) for line in _lines(each / "memory.stat") if line.split()[0] == reclaimable), 0)
            yield Available(max(0, most - used + cached), f"memory cgroup {each}")
        if each == mount:
            return


def _number(file: Path) -> int | None:
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []

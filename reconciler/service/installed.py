"""Services of other distributions: entry points of the group `pcn.services`, each a service's name and the directory that has it.

    [project.entry-points."pcn.services"]
    turnstile = "pcn_turnstile:DIRECTORY"

What cannot be used is omitted with the reason: it must not keep pcn from all that has nothing to do with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

GROUP = "pcn.services"
_OPERATORS = {
    ">=": lambda order: order >= 0, ">": lambda order: order > 0, "<=": lambda order: order <= 0, "<": lambda order: order < 0,
    "==": lambda order: order == 0, "!=": lambda order: order != 0, "~=": lambda order: order >= 0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Installed:
    """`problem`: why it is not used, '' if it is."""

    name: str
    distribution: str
    directory: Path | None = None
    problem: str = ""


def installed(points: Iterable[Any] | None = None) -> list[Installed]:
    """All that are offered, in order of distributions; of two with one name neither is used."""
    found = [_look(point) for point in (metadata.entry_points(group=GROUP) if points is None else points)]
    found.sort(key=lambda each: (each.distribution, each.name))
    givers: dict[str, list[str]] = {}
    for each in found:
        givers.setdefault(each.name, []).append(each.distribution)
    return [_alone(each, givers[each.name]) for each in found]


def _alone(each: Installed, givers: list[str]) -> Installed:
    if len(set(givers)) == 1:
        return each
    return Installed(each.name, each.distribution, None, f"service {each.name} is in {' and in '.join(givers)}: remove one")


def _look(point: Any) -> Installed:
    about = getattr(point, "dist", None)
    distribution = f"{about.name} {about.version}" if about is not None else "a distribution without a name"
    if wrong := next(_unmet(about.requires or () if about is not None else ()), ""):
        return Installed(point.name, distribution, None, f"service {point.name} of {distribution} needs {wrong}")
    try:
        directory = Path(str(point.load()))
    except Exception as error:  # noqa: BLE001 - it is somebody else's code
        why = f"cannot be imported: {type(error).__name__}: {error}"
        return Installed(point.name, distribution, None, f"service {point.name} of {distribution} {why}")
    if not (directory / f"{point.name}.schema.json").is_file():
        return Installed(point.name, distribution, None, f"service {point.name} of {distribution} is not in {directory}")
    return Installed(point.name, distribution, directory)


def _unmet(requirements: Iterable[str]) -> Iterator[str]:
    """What of these requests another pcn than this one."""
    ours = metadata.version("pcn")
    for requirement in requirements:
        said = requirement.partition(";")[0].strip()
        name = re.match(r"[\w.-]+", said)
        if name is None or name[0].lower() != "pcn":
            continue
        for operator, version in re.findall(r"(~=|[<>=!]=|[<>])\s*([\w.]+)", said):
            if not _OPERATORS[operator](_order(ours, version)):
                yield f"{said}, and this is pcn {ours}"
                return


def _order(one: str, other: str) -> int:
    first, second = (([int(number) for number in re.findall(r"\d+", version)] + [0, 0, 0])[:3] for version in (one, other))
    return (first > second) - (first < second)

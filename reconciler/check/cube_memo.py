"""Memo of the cubes that passed the last checks, so that of an edited document only new cubes are checked and built.

A cube is identified by being the very same object. Documents are immutable, and an edited one shares everything that the edit
did not touch with the previous one (`document.incremental_parse`), so the same object has the same content. A cube's
neighbours, and references to it, are examined every time.
"""
from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from reconciler.errors import Problem
from reconciler.incremental.entry_memo import FEW
from reconciler.incremental.memo import Owned
from reconciler.incremental.sharing import alike
from reconciler.model import Cube

_CHECKS = 4  # files, what is applied, and both together


@dataclass(slots=True)
class CheckedCube:
    """`raw` as it was written, by `service`'s schema `normal` and without fault. `passed`: the rules about a cube alone found
    nothing. `shape` is what the rules about the entire graph examine. `built` for `key` are its canonical data and the cube."""

    raw: Any
    service: object
    normal: dict[str, Any]
    passed: bool = False
    shape: Any = None
    key: Any = None
    built: tuple[dict[str, Any], Cube] | None = None


class CubeMemo:
    """By the name that a cube has in raw and in normal data, for each of the last checks."""

    def __init__(self) -> None:
        self._checks: deque[dict[str, CheckedCube]] = deque([{}], _CHECKS)

    def new_check(self) -> None:
        self._checks.append({})

    def find(self, raw: object, service: object) -> CheckedCube | None:
        for check in self._checks:
            found = check.get(_name(raw))
            if found is not None and found.raw is raw and found.service is service:
                self._note(found)
                return found
        return None

    def of_normal(self, normal: object) -> CheckedCube | None:
        found = self._checks[-1].get(_name(normal))
        return found if found is not None and found.normal is normal else None

    def passed(self, normal: object, problems: Iterable[Problem]) -> Iterator[Problem]:
        """What the rules about this cube alone find; nothing, if they found nothing the last time."""
        right = self.of_normal(normal)
        if right is not None and right.passed:
            return
        found = list(problems)
        if right is not None and not found:
            right.passed = True
        yield from found

    def add(self, raw: Any, service: object, normal: dict[str, Any]) -> None:
        self._note(CheckedCube(raw, service, normal))

    def _note(self, right: CheckedCube) -> None:
        self._checks[-1][_name(right.raw)] = self._checks[-1][_name(right.normal)] = right

    def shared(self, cube: dict[str, Any]) -> dict[str, Any]:
        """A cube of an applied document, with equal entries replaced by the objects of the same cube that was checked lately:
        so of the applied document, only entries that are no longer wanted are checked and built."""
        for check in reversed(self._checks):
            found = check.get(_name(cube))
            if found is not None and found.built is not None:
                return _shared(cube, found.built[0], found.raw)
        return cube


def _shared(data: dict[str, Any], canonical: dict[str, Any], raw: Any) -> dict[str, Any]:
    """`data` with entries of `raw` in its long lists, where their canonical form (`canonical`) is equal."""
    made = dict(data)
    for name, value in data.items():
        one, other = canonical.get(name), raw.get(name)
        if isinstance(value, dict) and isinstance(one, dict) and isinstance(other, dict):
            made[name] = _shared(value, one, other)
        elif isinstance(value, list) and isinstance(one, list) and isinstance(other, list) and len(one) == len(other) >= FEW:
            start, rest = alike(one, value)
            made[name] = [*other[:start], *value[start : len(value) - rest], *other[len(other) - rest :]]
        elif all(isinstance(each, list) and len(each) == len(value) for each in (value, one, other)):
            trios = zip(value, one, other, strict=True)  # type: ignore[arg-type]
            made[name] = [_shared(*trio) if all(isinstance(each, dict) for each in trio) else trio[0] for trio in trios]
    return made


def _name(cube: object) -> str:
    """By which a cube is found; that it is the very same one is seen then. No two cubes of one check have the same."""
    return str(cube.get("name")) if isinstance(cube, dict) else ""


MEMO = Owned(CubeMemo)

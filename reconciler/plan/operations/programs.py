"""Operations on programs: loading them, and putting them into the arrays by which packets enter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.plan.operations.base import Operation
from reconciler.plan.operations.names import Remove


@dataclass(frozen=True, slots=True)
class LoadProgram(Operation):
    """Load a cube's program and pin it. `object` is the digest of what was compiled, `maps` the pin of each of its tables by its
    name in C, '' for the array `calls` by which µCubes continue; in that the program has the row `row`."""

    path: str
    object: str
    constants: bytes
    maps: Mapping[str, str]
    calls: str
    row: int
    name: str


@dataclass(frozen=True, slots=True)
class KeepProgram(Operation):
    """Take a program of the generation before, at `source`, into a new one."""

    path: str
    source: str
    calls: str
    row: int


@dataclass(frozen=True, slots=True)
class RecordGeneration(Operation):
    """Note what was loaded: the digest of each program's object by name. `called`: of each program that others continue in, the
    array by which they do."""

    path: str
    objects: Mapping[str, str]
    called: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoadStub(Operation):
    """Load the trampoline of a port: it notes the number `port` and jumps to the row `row` of the array `entry`."""

    path: str
    flavour: str
    port: int
    row: int
    entry: str

    def inverse(self) -> Remove:
        return Remove(self.path)


@dataclass(frozen=True, slots=True)
class LinkedCube:
    """One cube of a chain: its object by digest, its constants and tables, the port of arrival and the row that it continues
    by."""

    cube: str
    object: str
    constants: bytes
    maps: Mapping[str, str]
    port: int
    row: int


@dataclass(frozen=True, slots=True)
class LoadChain(LoadStub):
    """Link cubes to one program and load it in the place of a trampoline. `chain` is the digest of what was linked."""

    chain: str
    parts: tuple[LinkedCube, ...]


@dataclass(frozen=True, slots=True)
class SetSlot(Operation):
    """Write the program that is pinned at `program` into a program array."""

    path: str
    index: int
    program: str


@dataclass(frozen=True, slots=True)
class ClearSlot(Operation):
    path: str
    index: int

"""Operations on tables and their rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.plan.operations.base import Operation
from reconciler.plan.operations.names import Remove

FieldPlace = tuple[bool, int, int]
"""Where a field is: whether in the key, its offset there, its size in bytes."""


@dataclass(frozen=True, slots=True)
class CreateMap(Operation):
    """Create a map and pin it. `spec`: type, sizes of key and value, number of rows, flags. `btf` are its types, if any."""

    path: str
    spec: tuple[int, ...]
    name: str
    btf: bytes = b""

    def inverse(self) -> Remove:
        return Remove(self.path)


@dataclass(frozen=True, slots=True)
class AdoptMap(Operation):
    """Pin a map that lost its pin, but that programs use. `id` is the kernel's."""

    path: str
    id: int

    def inverse(self) -> Remove:
        return Remove(self.path)


@dataclass(frozen=True, slots=True)
class WriteRows(Operation):
    """Write the configuration's bits of rows, those that are set in `mask`; the datapath's bits of a row that exists stay."""

    path: str
    rows: Mapping[bytes, bytes]
    mask: bytes


@dataclass(frozen=True, slots=True)
class DeleteRows(Operation):
    """Delete rows by key. In a `sparse` table a row of zeros represents none."""

    path: str
    keys: tuple[bytes, ...]
    sparse: bool = False


@dataclass(frozen=True, slots=True)
class PurgeRows(Operation):
    """Delete the rows in which `fields`, one after the other, have one of `values`."""

    path: str
    fields: tuple[FieldPlace, ...]
    values: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FlushRows(Operation):
    """Delete all rows."""

    path: str


@dataclass(frozen=True, slots=True)
class ZeroRows(Operation):
    """Set all rows to zero, but for the bits of `keep`, which are configuration."""

    path: str
    keep: bytes = b""


@dataclass(frozen=True, slots=True)
class MigrateRows(Operation):
    """Carry over to the table at `path` the changes in the one at `source` since the last time. `service`: whose function
    migrates the rows; '' if they stay as they are. `mask`: the bits that are configuration, b'' if no row is."""

    source: str
    path: str
    service: str
    table: str
    mask: bytes

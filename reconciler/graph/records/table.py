"""The record of a table with its rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconciler import pins


@dataclass(frozen=True, slots=True)
class TableRecord:
    """A table. `spec` is (type, key size, value size, max entries, flags). `rows` None: content is not the configuration's.
    `mask` marks the bits of a value that are; `sparse`: all-zero rows count as absent. `init` marks the bits of init-only
    leaves: a row in which one of them changes is replaced. Live, `relaid`: its rows have another layout than today's programs
    expect. `btf`: its types, where the kernel needs them. `bits`: each bit is set before the row that it represents is added,
    and cleared after it is removed."""

    cube: str
    name: str
    path: str
    spec: tuple[int, int, int, int, int]
    rows: Mapping[bytes, bytes] | None = None
    mask: bytes = b""
    sparse: bool = False
    staged: bool = False
    init: bytes = field(default=b"", compare=False)
    relaid: bool = False
    btf: bytes = field(default=b"", compare=False)
    bits: bool = field(default=False, compare=False)

    @property
    def address(self) -> str:
        if not self.cube:
            return self.path
        below = self.path.removeprefix(f"{pins.cube(self.cube)}/")  # a twin has tables of the same names: twin/hops
        return f"cube/{self.cube}/table/{below.removeprefix('tables/')}"

"""The layouts of the bridge's tables, as the compiler gives them; a kernel test holds them against the C."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    name: str
    offset: int
    size: int


class Struct:
    def __init__(self, *fields: tuple[str, int]) -> None:
        self.fields: list[Field] = []
        self.size = 0
        for name, size in fields:
            self.fields.append(Field(name, self.size, size))
            self.size += size


@dataclass(frozen=True)
class Table:
    key: Struct
    value: Struct
    type: int = 2
    max_entries: int = 4096


NUMBER = Struct(("", 4))
TABLES = {
    "ports": Table(NUMBER, Struct(("flags", 2), ("vlan", 2), ("native", 2), ("mac", 6), ("id", 4))),
    "stp_costs": Table(Struct(("port", 4), ("vlan", 4)), Struct(("cost", 4), ("priority", 4)), 1),
    "vlans": Table(NUMBER, Struct(("members", 16), ("untagged", 16))),
}

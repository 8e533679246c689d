"""A compiled program: relocatable instructions, and metadata.

The format is pcn's own so that a program can be kept, carried to another machine and loaded without a compiler, and
so that another front end than BCC could fill the same cache.

At each relocation's index is a two-slot `ld_imm64` whose source register already has its kind: 1 (BPF_PSEUDO_MAP_FD) for a
table, 2 (BPF_PSEUDO_MAP_VALUE) for a constant, whose byte offset is in the second slot. A loader only writes a map's descriptor
into the first slot's immediate. (Markers of filters are a single slot, see `filters`.)
"""
from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from reconciler.compiler.struct_layout import StructLayout, leaves

FORMAT = 1  # of the JSON; files of other formats are ignored

# enum bpf_map_type, by the names that BCC uses.
TYPES = {
    "extern": 0, "hash": 1, "array": 2, "prog": 3, "perf_output": 4, "percpu_hash": 5, "percpu_array": 6,
    "stacktrace": 7, "cgroup_array": 8, "lru_hash": 9, "lru_percpu_hash": 10, "lpm_trie": 11, "array_of_maps": 12,
    "hash_of_maps": 13, "devmap": 14, "sockmap": 15, "cpumap": 16, "xskmap": 17, "sockhash": 18, "cgroup_storage": 19,
    "queue": 22, "stack": 23, "sk_storage": 24, "devmap_hash": 25, "ringbuf": 27,
}
_NAMES = {number: name for name, number in TYPES.items()}


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A map that the program uses, as its C declares it.

    `scope`: private (to the cube), shared:<namespace>, public (to the host) or framework. An `extern` table is created by
    another program that declares it: its type is 0 and its max_entries is 0, its key and value are to be compared.
    `inner` is the table that a map of maps is built from.
    """

    name: str
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    scope: str
    key: StructLayout
    value: StructLayout
    extern: bool = False
    inner: str = ""

    @property
    def type_name(self) -> str:
        return _NAMES.get(self.type, str(self.type))


@dataclass(frozen=True, slots=True)
class Relocation:
    """`index` counts 8-byte slots. kind 'map': `symbol` is a table; 'const': a constant at byte `offset`; 'filter', 'reach': the
    marker of a packet filter (`filters.fill`)."""

    index: int
    kind: str
    symbol: str
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """The C line of the instructions from `index` up to the next Line's. `file` has no directory, since it may have moved."""

    index: int
    file: str
    line: int
    text: str


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Object:
    """One compiled program. `digest` covers the kernel's view: instructions, and the tables that they refer to with the offsets
    and sizes of their fields, regardless of names. `seal` covers all content but lines and compiler, and detects an incomplete
    file. `constants` are the byte offsets of u32 words, in an array map of one value of `const_size` bytes."""

    digest: str
    source: str
    flavour: str
    direction: str
    insns: bytes
    relocations: tuple[Relocation, ...]
    tables: Mapping[str, TableSpec]
    constants: Mapping[str, int]
    const_size: int
    lines: tuple[Line, ...]
    log_formats: Mapping[int, str]
    licence: str
    compiler: str
    seal: str = ""

    def line_of(self, index: int) -> Line | None:
        """The C line of instruction `index`."""
        at = bisect_right(self.lines, index, key=lambda line: line.index)
        return self.lines[at - 1] if at else None

    def sealed(self) -> Object:
        """A copy with digest and seal computed."""
        return replace(self, digest=_digest(self), seal=_seal(self))

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, "digest": self.seal, "lines": [[i.index, i.file, i.line, i.text] for i in self.lines],
                "compiler": self.compiler, **_content(self)}

    @classmethod
    def from_json(cls, data: Any) -> Object:
        """The inverse of `to_json`. Raises ValueError for another format, or content that does not match its digest."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise ValueError("an object of another format")
        try:
            found = cls(
                "", data["source"], data["flavour"], data["direction"], bytes.fromhex(data["insns"]),
                tuple(Relocation(*values) for values in data["relocations"]),
                {name: _table(values) for name, values in data["tables"].items()},
                dict(data["constants"]), data["const_size"], tuple(Line(*values) for values in data["lines"]),
                {int(number): text for number, text in data["log_formats"].items()}, data["licence"], data["compiler"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not an object: {error!r}") from None
        found = found.sealed()
        if found.seal != data["digest"]:
            raise ValueError("an object that is not what its digest says")
        return found


def _content(found: Object) -> dict[str, Any]:
    return {
        "source": found.source, "flavour": found.flavour, "direction": found.direction, "insns": found.insns.hex(),
        "relocations": [[r.index, r.kind, r.symbol, r.offset] for r in found.relocations],
        "tables": {name: _table_json(table) for name, table in found.tables.items()},
        "constants": dict(found.constants), "const_size": found.const_size,
        "log_formats": {str(number): text for number, text in found.log_formats.items()}, "licence": found.licence}


def _seal(found: Object) -> str:
    return hashlib.sha256(json.dumps(_content(found), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _digest(found: Object) -> str:
    """Excludes names of files, fields and constants, and unused tables: none of them changes the kernel's view."""
    used = {relocation.symbol for relocation in found.relocations if relocation.kind == "map"}
    tables = {name: _seen(found.tables[name]) for name in sorted(used & found.tables.keys())}
    places = [[r.index, r.kind, r.symbol if r.kind == "map" else r.offset] for r in found.relocations]
    said = [found.flavour, found.direction, found.insns.hex(), places, tables, found.licence]
    return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).hexdigest()


def _seen(table: TableSpec) -> list[Any]:
    """A table's shape in the kernel, and the offsets and sizes of its fields."""
    shape = [table.type, table.key_size, table.value_size, table.max_entries, table.flags, table.scope, table.extern, table.inner]
    return [*shape, *(sorted(leaf[1:] for leaf in leaves(layout)) for layout in (table.key, table.value))]


def _table_json(table: TableSpec) -> dict[str, Any]:
    return {**asdict(replace(table, key=StructLayout("bytes", 0), value=StructLayout("bytes", 0))),
            "key": table.key.to_json(), "value": table.value.to_json()}


def _table(data: Mapping[str, Any]) -> TableSpec:
    return TableSpec(**{**data, "key": StructLayout.from_json(data["key"]), "value": StructLayout.from_json(data["value"])})

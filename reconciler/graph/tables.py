"""The tables that a cube's programs use, and their owners.

A private table belongs to its cube: µCubes that declare it alike use one. A shared one belongs to those µCubes of the cube
that name its namespace. A public one is the host's: it exists as long as any cube does that declares it. An `extern`
declaration creates nothing: it is bound to the declaration of another µCube, or another cube, and must agree with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler import pins
from reconciler.graph.records import TableRecord
from reconciler.service.model.rows import TableRows

PUBLIC = "public"
SPECIAL = frozenset({"bpf_spin_lock", "bpf_timer"})  # structs that the kernel knows by their names


def is_framework(name: str) -> bool:
    """Whether a table is pcn.h's own; those are identified by the name of their pin."""
    return name.startswith("pcn_")


def used_tables(compiled: Any) -> set[str]:
    """The names of the tables that a compiled program uses once it is linked: those that its instructions refer to, and those
    for entering and leaving it."""
    used = {relocation.symbol for relocation in compiled.relocations if relocation.kind == "map"}
    used |= {*pins.GLUE} if "pcn_hops" in used else set()
    return used | ({"pcn_arrival"} if compiled.flavour == "XDP" else set())


def merged(objects: Iterable[Any]) -> dict[str, Any]:
    """All tables by their C names; declarations have priority over references."""
    found: dict[str, Any] = {}
    for compiled in objects:
        for name, table in compiled.tables.items():
            if name not in found or found[name].extern:
                found[name] = table
    return found


def grown(names: Iterable[str], rows: Mapping[str, TableRows], tables: Mapping[str, Any]) -> dict[str, int]:
    """The sizes of tables with more rows than the C's size: the next power of two."""
    counts = ((name, max(len(rows[name].rows), rows[name].entries)) for name in names if name in rows)
    return {name: 1 << (count - 1).bit_length() for name, count in counts if count > tables[name].max_entries}


def scope_of(table: Any, objects: Iterable[Any]) -> str:
    """The scope of a program's table, given all objects of its cube: 'private', 'shared:<namespace>', 'public'.

    An `extern` one is the cube's own if any of its µCubes declares it, else another cube's public one.
    """
    if not table.extern:
        return str(table.scope)
    scopes = {other.scope for made in objects if (other := made.tables.get(table.name)) is not None and not other.extern}
    if table.scope != "private":
        return str(table.scope) if table.scope in scopes or table.scope == PUBLIC else PUBLIC
    return min(scopes, default=PUBLIC)  # private, then public, then shared


def types_of(table: Any) -> bytes:
    """The types of a table's key and value, if its values have a field that the kernel has to know of."""
    if not any(field.nested is not None and field.nested.name in SPECIAL for field in table.value.fields):
        return b""
    from reconciler.graph.btf import describe

    return describe(table.key, table.value)


@dataclass(frozen=True, slots=True)
class Declaration:
    """A table as one program of one cube declares it; `rows` is its content by the cube's configuration."""

    cube: str
    source: str
    table: Any
    path: str
    rows: TableRows | None = None

    @property
    def spec(self) -> tuple[int, int, int, int, int]:
        table = self.table
        return table.type, table.key_size, table.value_size, table.max_entries, table.flags

    @property
    def said(self) -> str:
        """What is reported of it where it disagrees with another."""
        table = self.table
        sizes = f"key of {table.key_size} bytes, value of {table.value_size}"
        shape = "extern" if table.extern else f"{table.type_name} of {table.max_entries} entries, flags {table.flags}"
        return f"{self.source} (cube {self.cube}): {shape}, {sizes}"


@dataclass(slots=True)
class Tables:
    """The tables of a whole graph, assembled one cube at a time. `problems` are sentences, each with its cube."""

    declared: dict[str, Declaration] = field(default_factory=dict)
    referred: list[Declaration] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def add(
        self,
        cube: str,
        made: Mapping[Any, Any],
        whole: Mapping[Any, Any],
        rows: Mapping[str, TableRows],
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """One cube's. `made` are the objects it runs, by slot; `whole` all of its service; `sizes` the sizes of tables that
        differ from the C's."""
        objects = list(whole.values())
        for slot, compiled in made.items():
            public = {name for name, table in compiled.tables.items() if table.scope == PUBLIC and not table.extern}
            for name in sorted(used_tables(compiled) | (set(rows) & set(compiled.tables)) | public):
                if name in pins.PER_GENERATION:
                    continue
                table = compiled.tables[name]
                if sizes and name in sizes and not table.extern:
                    table = replace(table, max_entries=sizes[name])
                path = pins.table(cube, name, scope_of(table, objects), slot.side)
                own = rows.get(name)
                found = Declaration(cube, compiled.source, table, path, None if own is not None and own.state else own)
                self.referred.append(found) if table.extern else self._declare(found)
                if table.extern and not path.startswith(f"{PUBLIC}/"):
                    self._declare_own(found, whole)

    def _declare_own(self, user: Declaration, whole: Mapping[Any, Any]) -> None:
        """The table of a µCube that this configuration may not need, for one that it does."""
        for compiled in whole.values():
            table = compiled.tables.get(user.table.name)
            if table is not None and not table.extern and pins.table(user.cube, table.name, table.scope) == user.path:
                self._declare(Declaration(user.cube, compiled.source, table, user.path, user.rows))

    def _declare(self, new: Declaration) -> None:
        if new.table.inner:
            told = "holds tables, which no plan can fill: rows that change at once are of a staged table (docs/decisions/0020)"
            self.problems.append((new.cube, f"table {new.table.name} {told}"))
        old = self.declared.setdefault(new.path, new)
        if old.spec != new.spec:
            self.problems.append((new.cube, f"table {new.table.name} is declared in two ways: {old.said}; {new.said}"))
        elif new.rows is not None and old.rows is None:
            self.declared[new.path] = new
        elif new.rows is not None and old.cube != new.cube:
            self.problems.append(
                (new.cube, f"public table {new.table.name} holds configuration, and cube {old.cube} declares it as well")
            )

    def records(self) -> Iterator[TableRecord]:
        """All of them; first, what is referred to is held against what is declared."""
        for user in self.referred:
            owner = self.declared.get(user.path)
            if owner is None:
                self.problems.append((user.cube, f"{user.source} uses table {user.table.name}, which no cube declares as public"))
            elif (owner.table.key_size, owner.table.value_size) != (user.table.key_size, user.table.value_size):
                self.problems.append((user.cube, f"table {user.table.name} does not fit: {user.said}; {owner.said}"))
        for path, found in self.declared.items():
            rows, name = found.rows, found.table.name
            if rows is not None and len(rows.rows) > found.table.max_entries:
                self.problems.append(
                    (found.cube, f"{len(rows.rows)} entries do not fit in table {name}, which holds {found.table.max_entries}")
                )
            of_the_host = path.startswith((f"{PUBLIC}/", "shared/"))
            record = TableRecord(
                "" if of_the_host else found.cube,
                path.rpartition("/")[2] if is_framework(name) else name,
                path,
                found.spec,
                *((rows.rows, rows.mask, rows.sparse, rows.staged, rows.init) if rows else ()),
            )
            btf, bits = types_of(found.table), rows is not None and rows.bits
            yield replace(record, btf=btf, bits=bits) if btf or bits else record

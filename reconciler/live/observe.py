"""Read the live graph back from the kernel: the arrow `observe` of the design, and the only reader of bpffs.

What is found is what is there: a program is identified by its id and tag and by what its slot holds, a hop by the row and
the jump, a table by its content. Nothing is printed or compared from memory of what was once requested.

Order: first every stub, so that a program id in a slot or a hook can be named; then what refers to them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from reconciler import pins
from reconciler.graph.parts import Built
from reconciler.graph.records import (
    CubeRecord,
    Grouped,
    Live,
    PortRecord,
    ProgramRecord,
    Record,
    RecordGroup,
    TableRecord,
    TrampolineRecord,
    WaitingRecord,
    assemble,
)
from reconciler.graph.tables import PUBLIC
from reconciler.incremental.row_delta import marked
from reconciler.kernel.maps import PER_CPU, MapInfo, MapSpec
from reconciler.kernel.percpu import fold_cpus
from reconciler.kernel.reader import Reader
from reconciler.live.adopt import is_another
from reconciler.live.facts import published
from reconciler.live.identity import declared_cubes, declared_namespaces, documents_of, identity
from reconciler.live.observe_forwarding import chains, ends_of, flooded, hooks, hops, members, wires
from reconciler.live.snapshot import Flooded, Snapshot, Wire, key_of
from reconciler.model import BuildKey
from reconciler.service.model.rows import TableRows
from reconciler.service.registry import Services

if TYPE_CHECKING:
    from collections.abc import Callable

_FILES = {"entry", "hops", "next", "drops", "flood", "reenter", "slowpath", f"{pins.SHADOW}hops"}


def ways_of(cube: str) -> str:
    """The name under which a reader remembers where a cube's packets go; its own name is for all else of it."""
    return f"{cube}/ways"


def observe_bpffs(
    reader: Reader,
    services: Services,
    build: Callable[[BuildKey], Built | None],
    netdevs: Mapping[str, Any],
    *,
    state: bool = False,
    before: Grouped | None = None,
) -> Live:
    """Everything below the root. `build` returns compiled objects, from the cache; None if they are unavailable, and then its
    tables are left undecoded. `state`: read the datapath's tables too. `before` is the state that the last poll found."""
    documents, unreadable = documents_of(reader)
    snapshot = Snapshot(reader, services, build, netdevs, {netdev.index: name for name, netdev in netdevs.items()}, state)
    snapshot.add(documents)
    kept = {pins.topology(name) for name in (*(record.name for record in documents), *unreadable)}
    leftovers = [path for name in reader.names("topologies") if (path := f"topologies/{name}") not in kept]
    cubes = _cubes(snapshot, declared_cubes(documents), leftovers)
    in_use = set[int]().union(*(own.in_use for own in cubes.values())) if any(own.chains for own in cubes.values()) else set()
    groups = {cube: _group(snapshot, own, in_use) for cube, own in cubes.items()}
    leftovers += [*snapshot.orphans, *hooks(snapshot)]
    leftovers += _shared(snapshot, groups)
    return Live(
        state=assemble({"": RecordGroup(snapshot.records), **groups}, before),
        orphans=tuple(leftovers),
        generations=snapshot.generations,
        ports=snapshot.ports,
        tables=snapshot.tables,
        documents=documents,
        unreadable=unreadable,
        netdevs=dict(netdevs),
        namespaces=declared_namespaces(documents),
        format=reader.root.format(),
        published=snapshot.published,
        recorded=frozenset(snapshot.recorded),
    )


def _cubes(snapshot: Snapshot, declared: Mapping[str, dict[str, Any]], leftovers: list[str]) -> dict[str, Snapshot]:
    """What was read of each cube, by name. Directories that are none are added to `leftovers`."""
    reader, cubes = snapshot.reader, dict[str, Snapshot]()
    for escaped in reader.names("cubes"):
        name = pins.unescape(escaped)
        about, current = _identity(reader, escaped, name, declared.get(name))
        if about is None or current is None or "~" in escaped:
            leftovers.append(f"cubes/{escaped}")
        else:
            given = about, current, snapshot.state, snapshot.compiled(about)
            ways = reader.remembered(ways_of(name), given, partial(_ways, snapshot, name, about))
            cubes[name] = reader.remembered(name, given, partial(_alone, snapshot, name, about, current))
            cubes[name].lead(*ways)
    reader.forget_all_but({*cubes, *map(ways_of, cubes)})
    for own in cubes.values():
        snapshot.take(own)
    return cubes


def _group(snapshot: Snapshot, own: Snapshot, in_use: Collection[int]) -> RecordGroup:
    """A cube's records; the same object as the last time if nothing of them has changed."""
    ends = ends_of(snapshot, own, in_use)
    if own.group is None or own.group[0] != ends:
        linked: list[Record] = [*chains(own, ends), *hops(own, ends), *members(own, ends)]
        own.group = ends, RecordGroup(own.records | {record.address: record for record in linked})
    like = own.group[1].like
    if like is not None and not any(isinstance(record, TrampolineRecord) and record.chain for record in like.values()):
        own.group = ends, like  # what is wanted says the same of this cube, to the last bit: one of two is enough
    return own.group[1]


def _identity(reader: Reader, escaped: str, name: str, said: dict[str, Any] | None) -> tuple[Any, Any]:
    """A cube's `about` and `current`; of a cube that is not to be read again, what they were."""
    before = reader.since(name)
    return before[:2] if before is not None else identity(reader, f"cubes/{escaped}", said)


def _alone(snapshot: Snapshot, name: str, about: Mapping[str, Any], current: str) -> Snapshot:
    """A cube's own objects, and nothing that depends on another's."""
    own = snapshot.apart()
    own.orphans += _cube_objects(own, name, about, current)
    return own


def _ways(snapshot: Snapshot, name: str, about: Mapping[str, Any]) -> tuple[list[Wire], tuple[Flooded, ...]]:
    """Where a cube's packets go. What has to be read of a table comes first, and then it is known what it is as well."""
    return wires(snapshot, name), flooded(snapshot, name, about)


def _cube_objects(snapshot: Snapshot, name: str, about: Mapping[str, Any], current: str) -> list[str]:
    """A cube's own objects; returns the leftovers in its directory."""
    reader, home = snapshot.reader, pins.cube(name)
    said = (about.get("service", ""), about.get("topology", ""), about.get("type", "TC"), about.get("fuse", True))
    snapshot.add([CubeRecord(name, *said, about.get("init", ""), about.get("sources", ""))])
    leftovers = []
    indices: dict[str, int] = {}
    ports = snapshot.ports[name] = {}
    entries = reader.names(home)
    for entry in entries:
        if entry.endswith("~") or (entry[0] == "g" and entry[1:].isdigit() and entry != current):
            leftovers.append(f"{home}/{entry}")
    _programs(snapshot, name, current)
    for side in (pins.MAIN, pins.TWIN) if "twin" in entries else (pins.MAIN,):
        indices |= _stubs(snapshot, name, about, side, leftovers)
    for escaped in reader.names(f"{home}/ports"):
        port = pins.unescape(escaped)
        if escaped.endswith("~") or port not in indices:
            leftovers.append(f"{home}/ports/{escaped}")
            continue
        snapshot.add([PortRecord(name, port, indices[port], reader.link_text(f"{home}/ports/{escaped}") or "-")])
        ports[port] = indices[port]
    place, _, at = (reader.link_text(pins.waits(name)) or "").partition(" ")
    if place.isdigit() and at:
        snapshot.add([WaitingRecord(name, at, int(place))])
    snapshot.generations[name] = int(current[1:]) if current[1:].isdigit() else 0
    if "facts" in entries:
        snapshot.published[name] = published(reader, name)
    _tables(snapshot, name, about)
    return leftovers


def _stubs(snapshot: Snapshot, cube: str, about: Mapping[str, Any], side: str, leftovers: list[str]) -> dict[str, int]:
    flavour = "XDP" if about.get("type", "TC") != "TC" and side == pins.MAIN else "TC"
    service = snapshot.services.get(about.get("service", ""))
    numbers = 2 if service is not None and service.kind == "transparent" else 1  # of stubs for each place, or port
    indices: dict[str, int] = {}
    cube_entry = snapshot.reader.table(f"{pins.cube(cube)}/{side}entry")
    for direction, directory in pins.TRAMPOLINES.items():
        base = f"{pins.cube(cube)}/{side}{directory}"
        for entry in snapshot.reader.names(base):
            number, _, escaped = entry.partition("_")
            if "~" in entry:  # one that was to take over, or that was to go
                leftovers.append(f"{base}/{entry}")
                continue
            pinned = snapshot.reader.program(f"{base}/{entry}")
            if number.isdigit() and pinned is not None:
                port = pins.unescape(escaped)
                if direction != pins.INJECT:
                    indices[port] = int(number) // numbers
                stub = TrampolineRecord(cube, side, direction, int(number), port, flavour)
                if pinned.name in (f"chain_{number}", f"apart_{number}"):
                    said = snapshot.reader.mark(f"{base}/{entry}").hex() or f"foreign:{pinned.tag}"
                    stub = replace(stub, chain=said, refused=pinned.name == f"apart_{number}")
                if stub.chain and not stub.refused:
                    snapshot.chains.append((stub, pinned.maps[1:]))
                elif pinned.name == f"stub_{number}" or stub.refused:
                    if cube_entry is None or cube_entry.identity not in pinned.maps:
                        continue  # it leads to an entry that is no longer the cube's
                    snapshot.uses.setdefault((cube, side), set()).update(pinned.maps)
                    snapshot.add([stub])
                else:
                    continue  # another program under a stub's name
                snapshot.stubs[pinned.identity] = f"{base}/{entry}"
    return indices


def _programs(snapshot: Snapshot, cube: str, current: str) -> None:
    """A program is what was loaded if pin, slot and the generation's record agree; else it is named by its tag."""
    home = f"{pins.cube(cube)}/{current}"
    recorded = (snapshot.reader.json_link(f"{home}/about") or {}).get("programs", {})
    for name, said in recorded.items():
        side = pins.TWIN if name.startswith("twin_") else pins.MAIN
        direction, _, index = name.removeprefix("twin_").rpartition("_")
        row = pins.entry_row(direction, int(index))
        pinned = snapshot.reader.program(f"{home}/{name}")
        slot = snapshot.reader.slot(f"{pins.cube(cube)}/{side}entry", row)
        if pinned is None and not slot:
            continue
        calls = said.get("calls")
        called = snapshot.reader.slot(f"{home}/{calls}", row) if calls else slot
        true = pinned is not None and pinned.tag == said.get("tag") and pinned.identity == slot == called
        if pinned is not None:
            snapshot.in_use.update(pinned.maps)
        if true and pinned is not None:
            snapshot.uses.setdefault((cube, side), set()).update(pinned.maps)
        found = f"foreign:{pinned.tag if pinned else 'no pin'}/{slot or 'empty slot'}" + (f"/{called}" if calls else "")
        digest = said.get("object", "") if true else found
        snapshot.recorded.update({digest} if true else ())
        snapshot.add(
            [ProgramRecord(cube, side, direction, int(index), digest, snapshot.reader.constants(f"{home}/{name}_const"))]
        )


def _tables(snapshot: Snapshot, cube: str, about: Mapping[str, Any]) -> None:
    reader, home = snapshot.reader, pins.cube(cube)
    for entry in reader.names(home):
        if entry in _FILES:
            _plain_table(snapshot, cube, f"{home}/{entry}", entry)
        elif entry == "twin":
            for below in reader.names(f"{home}/twin"):
                if below in _FILES:
                    _plain_table(snapshot, cube, f"{home}/twin/{below}", below)
    shape = _shape(snapshot, cube, about)
    kept = snapshot.tables.setdefault(cube, {})
    own = {f"{home}/tables/{entry}": entry.rpartition(":")[2] for entry in reader.names(f"{home}/tables")}
    for path, name in (own | {path: name for path, (name, _, _) in shape.items() if path not in own}).items():
        if path not in shape:
            _plain_table(snapshot, cube, path, name)
            if snapshot.state and (found := reader.rows(path)) is not None:
                kept[name] = {key: fold_cpus(found[0], value) for key, value in found[1].items()}
            continue
        _, wanted, value_size = shape[path]
        only_keys = not snapshot.state and not any(wanted.mask)  # are configuration's, and nobody looks at more
        found = reader.keys(path) if only_keys else reader.rows(path, sparse=wanted.sparse, of=marked)
        pinned = reader.table(path)
        if found is None or pinned is None or _is_another(snapshot, cube, path, name, pinned):
            continue
        spec, raw = found
        if only_keys:
            kept[name] = rows = raw
        else:
            kept[name] = folded = {k: fold_cpus(spec, value) for k, value in raw.items()} if spec.type in PER_CPU else raw
            rows = wanted.share_of(folded)
        owner = "" if path.startswith(f"{PUBLIC}/") else cube
        known = rows if spec.value_size == value_size else None
        record = TableRecord(owner, name, path, _spec(spec), known, wanted.mask, wanted.sparse, wanted.staged, bits=wanted.bits)
        (snapshot.records if owner else snapshot.public)[record.address] = record


def _shape(snapshot: Snapshot, cube: str, about: Mapping[str, Any]) -> dict[str, tuple[str, TableRows, int]]:
    """Of each table that holds configuration, by its pin: its name, what it has in an empty configuration, and the size of
    its values."""
    key = key_of(about)
    if key not in snapshot.shapes:
        snapshot.shapes[key] = _empty(snapshot, key)
    shapes = snapshot.shapes[key]
    return {pins.table(cube, name, table.scope): (name, wanted, table.value_size) for name, (table, wanted) in shapes.items()}


def _empty(snapshot: Snapshot, key: BuildKey) -> dict[str, tuple[Any, TableRows]]:
    """The tables that hold a service's configuration, and their content for an empty one."""
    from reconciler.service.model.codec import Env

    service = snapshot.services.get(key.service)
    built = snapshot.build(key) if service else None
    if service is None or built is None:
        return {}
    try:
        tables = built.tables
        return {name: (tables[name], wanted) for name, wanted in service.rows({}, tables, Env()).items()}
    except (KeyError, ValueError):
        return {}


def _spec(spec: MapSpec) -> tuple[int, int, int, int, int]:
    return spec.type, spec.key_size, spec.value_size, spec.max_entries, spec.flags


def _plain_table(snapshot: Snapshot, cube: str, path: str, name: str) -> None:
    pinned = snapshot.reader.table(path)
    if pinned is None or (
        name != "entry" and _is_another(snapshot, cube, path, name, pinned)
    ):  # what leads to an entry says which
        return
    snapshot.add([TableRecord(cube, name, path, _spec(pinned.spec))])


def _is_another(snapshot: Snapshot, cube: str, path: str, name: str, pinned: MapInfo) -> bool:
    """Whether the pin of a cube's table was replaced."""
    own_side = path.rpartition("/")[2] in pins.OF_A_SIDE and "/tables/" not in path
    sides = (pins.side_of(path),) if own_side else (pins.MAIN, pins.TWIN)
    return is_another(
        snapshot.reader, [snapshot.uses[cube, side] for side in sides if (cube, side) in snapshot.uses], pinned, name
    )


def _shared(snapshot: Snapshot, groups: Mapping[str, RecordGroup]) -> list[str]:
    for name in snapshot.reader.names("shared"):
        if f"shared/{name}" == pins.KEEP_OUT:
            continue
        spec = snapshot.reader.spec(f"shared/{name}")
        if spec is not None:
            snapshot.add([TableRecord("", name, f"shared/{name}", _spec(spec))])
    for name in snapshot.reader.names(PUBLIC):
        spec = snapshot.reader.spec(f"{PUBLIC}/{name}")
        if spec is not None and f"{PUBLIC}/{name}" not in snapshot.records:
            snapshot.add([TableRecord("", name, f"{PUBLIC}/{name}", _spec(spec))])
    return [f"namespaces/{name}" for name in snapshot.reader.names("namespaces") if name.endswith("~")]

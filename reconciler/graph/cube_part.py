"""What one cube requests by itself: its records, its programs' constants, and the rows of its tables. Pure."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler import facts as facts_
from reconciler import pins
from reconciler.graph import shadows
from reconciler.graph.parts import Built, CubePart, ProgramSlot
from reconciler.graph.records import CubeRecord, PortRecord, ProgramRecord, Record, TableRecord, TrampolineRecord
from reconciler.graph.tables import grown
from reconciler.model import BuildKey, Cube, family_of
from reconciler.service.model.codec import Env
from reconciler.service.registry import Service

if TYPE_CHECKING:
    from reconciler.service.sources import CubeSources

# Constants that would make programs differ from host to host, or be loaded again, for nothing where they are not used.
_ONLY_IF_USED = frozenset({"LEAP_SECONDS", "PORTS"})
ENTRY_SPEC = (3, 4, 4, 65, 0)  # pcn_entry of pcn.h


def program_slots(service: Service, flavour: str, sources: CubeSources | None = None) -> tuple[ProgramSlot, ...]:
    """The programs of a cube of this family. XDP has no egress hook, so an XDP cube's egress side is there twice; and no means to
    send each port of a group its own copy, so the ingress side of one that does that is too."""
    slots = [
        ProgramSlot(pins.MAIN, direction, index, flavour)
        for direction in ("ingress", "egress", pins.INJECT)
        for index, _ in enumerate(service.programs(direction, sources))
    ]
    if flavour == "XDP":
        twins = ("ingress", "egress") if service.floods_groups else ("egress",)
        slots += [
            ProgramSlot(pins.TWIN, way, index, "TC") for way in twins for index, _ in enumerate(service.programs(way, sources))
        ]
    return tuple(slots)


def build_key(cube: Cube, service: Service) -> tuple[BuildKey, CubeSources | None]:
    """What a cube's programs are compiled for, and its own C if it has any. Raises ValueError."""
    sources = service.sources(full_config(cube)) if service.has_sources else None
    return BuildKey(cube.service, family_of(cube.type), sources.digest if sources else ""), sources


def cube_part(
    cube: Cube,
    service: Service,
    key: BuildKey,
    whole: Built,
    env: Env,
    recorded: Mapping[str, str],
    places: tuple[str, ...] | None,
) -> CubePart:
    """What one cube requests by itself."""
    config = full_config(cube)
    made = _chosen(whole, service.chosen(config))
    records = [_as_recorded(record, recorded) for record in _records(cube, service, key, made, config, env, places)]
    rows = service.rows(config, made.tables, env)
    sizes = {**service.sizes(config), **grown(service.grows, rows, made.tables)}
    return CubePart(cube, env, made, whole, records, rows, recorded, sizes, places, service.edition)


def _as_recorded(record: Record, recorded: Mapping[str, str]) -> Record:
    """A program that is equivalent to the live one keeps the digest that the kernel has recorded."""
    if isinstance(record, ProgramRecord) and record.address in recorded:
        return replace(record, object=recorded[record.address])
    return record


def _records(
    cube: Cube,
    service: Service,
    key: BuildKey,
    made: Built,
    config: Mapping[str, Any],
    env: Env,
    places: tuple[str, ...] | None,
) -> list[Record]:
    said = cube.topology, cube.type, cube.fuse, service.init_only(config), key.sources
    records: list[Record] = [CubeRecord(cube.name, cube.service, *said)]
    records += [PortRecord(cube.name, port.name, env.ports[port.name], port.peer or "-") for port in cube.ports]
    records += [PortRecord(cube.name, name, env.ports[name], "-" if ":" in name else name) for name in places or ()]
    if cube.shadow:
        records += shadows.network(cube, told(cube, service))
    values = service.constants(cube.name, cube.loglevel, config, env.ports)
    for slot, compiled in made.objects.items():
        records.append(
            ProgramRecord(cube.name, slot.side, slot.direction, slot.index, compiled.digest, pack_constants(compiled, values))
        )
    records += [
        TableRecord(cube.name, "entry", f"{pins.cube(cube.name)}/{side}entry", ENTRY_SPEC)
        for side in {slot.side for slot in made.objects}
    ]
    return records + _stubs(cube, service, made, env.ports, places)


def _chosen(made: Built, chosen: Mapping[str, Collection[int]] | None) -> Built:
    """Only the programs that this configuration needs, if the service makes a choice."""
    if chosen is None:
        return made
    return Built(
        {
            slot: compiled
            for slot, compiled in made.objects.items()
            if slot.direction == pins.INJECT or slot.index in chosen.get(slot.direction, ())
        }
    )


def full_config(cube: Cube) -> dict[str, Any]:
    """The cube's data in the form of its model: the service's leaves, its type, and the ports with theirs."""
    ports = [{"name": port.name, **({"peer": port.peer} if port.peer else {}), **port.config} for port in cube.ports]
    shadow = {leaf: True for leaf in ("shadow", "span") if getattr(cube, leaf)}
    return {**cube.config, **shadow, "type": cube.type, "ports": ports}


def shadow_fact(cube: Cube, service: Service, of_host: Mapping[str, Any]) -> dict[str, Any]:
    if not cube.shadow or facts_.SHADOW not in service.facts:
        return {}
    return {facts_.SHADOW: shadows.fact(of_host.get(facts_.SHADOW, {}).get(cube.name, {}), told(cube, service))}


def told(cube: Cube, service: Service) -> Mapping[str, Mapping[str, Any]]:
    """The configuration of the netdevs in a cube's namespace, by port."""
    return shadows.kept_in_a_page(service.implementation.namespace(full_config(cube), cube.name))


def pack_constants(compiled: Any, values: Mapping[str, int]) -> bytes:
    """The frozen map's bytes for one object. Raises KeyError for a constant without a value."""
    raw = bytearray(compiled.const_size)
    used = {relocation.symbol for relocation in compiled.relocations if relocation.kind == "const"}
    for name, offset in compiled.constants.items():
        if name not in values:
            raise KeyError(f"the C asks for constant {name}, which neither the model nor the Python half gives")
        if name not in _ONLY_IF_USED or name in used:
            struct.pack_into("<I", raw, offset, values[name])
    return bytes(raw)


def _stubs(
    cube: Cube, service: Service, made: Built, indices: Mapping[str, int], named: tuple[str, ...] | None
) -> list[Record]:
    """Every port has its stubs whatever its peer, so that changing a peer loads no program; and so has every place."""
    records: list[Record] = []
    for slot in made.objects:
        if slot.index:
            continue
        places: Iterable[tuple[str, int]]
        if slot.direction == pins.INJECT:
            places = (("cube", 0),)
        elif service.kind == "standard":
            places = indices.items()
        elif named is not None:
            places = ((name, 2 * indices[name] + (slot.direction == "egress")) for name in named)
        else:
            places = (("wire", 0),) if slot.direction == "ingress" else (("inner", 1),)
        records += [TrampolineRecord(cube.name, slot.side, slot.direction, index, name, slot.flavour) for name, index in places]
    return records

"""Compiled services for one command or one poll: each kind once, from the cache, the compiler, or the objects in the root."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler import pins
from reconciler.check.schema import memo_of
from reconciler.errors import CompileError, DocumentError, FeatureMissing, NotPermitted, Problem
from reconciler.graph.cube_part import build_key, program_slots
from reconciler.graph.parts import Built, ProgramSlot
from reconciler.model import BuildKey, Cube, Topology, family_of
from reconciler.service.registry import SHADOW, Service, Services

if TYPE_CHECKING:
    from reconciler.compiler import Unit
    from reconciler.service.sources import CubeSources

Progress = Callable[[int, int, str], None]


class Builder:
    """Compiled services, each once. `root`: where compiled objects of cubes are stored; `stored`: prefer these to the cache, and
    use older ones where nothing can be compiled: for callers that only read or remove. `digests` cover each kind's inputs.

    `_sources` has the C of cubes with C of their own, once their configuration is parsed. Live cubes can be read before that:
    `seen` are the objects with which they were applied, and `unknown` the kinds whose objects are lost.
    """

    def __init__(self, services: Services, progress: Progress | None = None, root: str = "", *, stored: bool = False) -> None:
        self._services, self._progress, self._root, self._stored = services, progress, root, stored and bool(root)
        self.built: dict[BuildKey, Built] = {}
        self.digests: dict[BuildKey, str] = {}
        self.seen: dict[BuildKey, Built] = {}
        self.unknown: set[BuildKey] = set()
        self._sources: dict[BuildKey, tuple[str, CubeSources]] = {}

    def key_of(self, cube: Cube) -> BuildKey:
        """The kind of a cube's compiled programs. Raises DocumentError."""
        service = self._services.get(cube.service)
        if service is None:
            return BuildKey(cube.service, family_of(cube.type))
        try:
            key, sources = build_key(cube, service)
        except (ValueError, TypeError, KeyError) as error:
            raise DocumentError([Problem(str(error), f"/spec/cubes/{cube.name}")]) from None
        if sources is not None:
            self._sources.setdefault(key, (cube.name, sources))
        return key

    def keys_of(self, topologies: Iterable[Topology]) -> set[BuildKey]:
        """`key_of` of all their cubes. Raises DocumentError."""
        return {self.key_of(cube) for topology in topologies for cube in topology.cubes}

    def ensure(self, wanted: Iterable[BuildKey]) -> dict[BuildKey, Built]:
        """Compile the kinds that are not built yet, together. Returns all that are built. Raises CompileError."""
        return memo_of(self._services).run(self._ensure, wanted)

    def _ensure(self, wanted: Iterable[BuildKey]) -> dict[BuildKey, Built]:
        lots: list[_Lot] = []
        for key in sorted({key for key in wanted if key not in self.built}):
            service = self._services.get(key.service)
            if service is None:
                said = f"the kernel holds a cube of service {key.service!r}, which is not installed here"
                raise DocumentError([Problem(said, hint="use --services DIR")])
            lots += [_Lot(key, slot, unit) for slot, unit in _units(service, key.family, *self._sources.get(key, ()))]
        if self._stored and lots:
            lots = self._without_stored(lots)
        if lots:
            self._compile(lots)
        return self.built

    def _compile(self, lots: Sequence[_Lot]) -> None:
        from reconciler.compiler import compile_keyed
        from reconciler.live.stored import digest_of

        filters = {key: self._filters(key) for key in dict.fromkeys(lot.key for lot in lots)}
        try:
            made = compile_keyed([lot.unit for lot in lots], progress=self._progress)
        except (CompileError, NotPermitted):
            if not self._stored or self._without_stored(lots, whatever=True):
                raise
            return
        found: dict[BuildKey, list[tuple[ProgramSlot, str, Any]]] = {}
        for lot, (digest, compiled) in zip(lots, made, strict=True):
            found.setdefault(lot.key, []).append((lot.slot, digest, compiled))
        for key, parts in found.items():
            self.built[key] = Built({slot: self._filled(key, compiled, filters[key]) for slot, _, compiled in parts})
            self.digests[key] = digest_of(digest for _, digest, _ in parts)

    def _without_stored(self, lots: Sequence[_Lot], *, whatever: bool = False) -> list[_Lot]:
        """The units left to compile, after objects in the root were reused: those of the current sources, or, with `whatever`, of
        any."""
        from reconciler.compiler import keys_of
        from reconciler.kernel.bpffs import Bpffs
        from reconciler.kernel.reader import Reader
        from reconciler.live.stored import digest_of, load

        reader = Reader(Bpffs(self._root))
        for key in dict.fromkeys(lot.key for lot in lots):
            digest = "" if whatever else digest_of(keys_of([lot.unit for lot in lots if lot.key == key]))
            found = load(reader, key, digest)
            if found is not None:
                self.built[key] = found
        return [lot for lot in lots if lot.key not in self.built]

    def with_text(self, key: BuildKey, direction: str, index: int, text: str, path: str = "") -> Built:
        """The kind compiled with `text`, of the file `path`, in place of one of its C files. Raises CompileError, IndexError."""
        from reconciler.compiler import compile_units

        whole, service = self.ensure([key])[key], self._services.get(key.service)
        assert service is not None
        units = {
            slot: replace(unit, text=text, path=path)
            for slot, unit in _units(service, key.family, *self._sources.get(key, ()))
            if (slot.direction, slot.index) == (direction, index)
        }
        if not units:
            raise IndexError(f"service {key.service} has no {direction} program {index}")
        made, filters = compile_units(list(units.values())), self._filters(key)
        filled = [self._filled(key, each, filters) for each in made]
        return Built({**whole.objects, **dict(zip(units, filled, strict=True))})

    def wrong_filters(self, topologies: Iterable[Topology]) -> list[Problem]:
        """Errors of the filters in these topologies' cubes; none without libpcap, which is needed to check them."""
        from reconciler.compiler.libpcap import there

        found: list[Problem] = []
        for key in self.keys_of(topologies) if there() else ():
            try:
                self._filters(key)
            except DocumentError as error:
                found += error.problems
        return found

    def _filters(self, key: BuildKey) -> dict[str, bytes]:
        """The filters in a kind's programs, as classic BPF, by their names in C. Raises DocumentError."""
        cube, sources = self._sources.get(key, ("", None))
        if sources is None or not sources.filters:
            return {}
        from reconciler.compiler.libpcap import compile_filter

        found = {}
        for each in sources.filters:
            try:
                found[each.name] = compile_filter(each.text)
            except (ValueError, FeatureMissing) as error:
                raise DocumentError([Problem(str(error), "/".join(("/spec/cubes", cube, *each.leaf)))]) from None
        return found

    def _filled(self, key: BuildKey, compiled: Any, filters: Mapping[str, bytes]) -> Any:
        if not filters:
            return compiled
        from reconciler.compiler.filters import fill

        try:
            return fill(compiled, filters)
        except ValueError as error:
            raise DocumentError([Problem(str(error), f"/spec/cubes/{self._sources[key][0]}")]) from None

    def one(self, key: BuildKey) -> Built | None:
        """The compiled kind by which a live cube is read; None if it is neither compilable nor stored."""
        if self._services.get(key.service) is None:
            return None
        if key.sources and key not in self._sources and key not in self.built:
            return self._as_applied(key)
        try:
            return self.ensure([key])[key]
        except (CompileError, NotPermitted):
            return None

    def _as_applied(self, key: BuildKey) -> Built | None:
        """The objects with which a cube with C of its own was applied; None if they are lost."""
        from reconciler.kernel.bpffs import Bpffs
        from reconciler.kernel.reader import Reader
        from reconciler.live.stored import load

        if key not in self.seen:
            found = load(Reader(Bpffs(self._root)), key) if self._root else None
            if found is None:
                self.unknown.add(key)
                return None
            self.seen[key] = found
        return self.seen[key]


def named_text(cube: str, name: str) -> str:
    """The name of a cube's own text in messages."""
    return f"cube {cube}, {name}"


class _Lot(NamedTuple):
    """One program to be compiled, its kind and its slot there."""

    key: BuildKey
    slot: ProgramSlot
    unit: Unit


def _units(
    service: Service, family: str, cube: str = "", sources: CubeSources | None = None
) -> Iterator[tuple[ProgramSlot, Unit]]:
    """The programs of a service, or of a `cube` with `sources` of its own."""
    from reconciler.compiler import Unit

    defines = {"PCN_SLOWPATH": int(service.takes_packets)}
    if service.max_ports > pins.AFTER_EGRESS:
        defines["PCN_MAX_PORTS"] = pins.ports_below(service.max_ports)
    for slot in program_slots(service, family, sources):
        source = service.programs(slot.direction, sources)[slot.index]
        unit = Unit(source, slot.flavour, slot.direction, service.kind, defines)
        if sources is not None and slot.direction in sources.programs:
            own = sources.programs[slot.direction][slot.index]
            path = "" if own.text is None else named_text(cube, source.name)
            unit = replace(unit, text=own.text, path=path, renames=own.renames)
        yield slot, unit


def units_of(services: Services) -> dict[str, list[Unit]]:
    """The units of each service, for TC and for XDP, without duplicates: egress is always TC."""
    there = [service for name in (*services.names(), SHADOW) if (service := services.get(name)) is not None]
    return {s.name: list({str(u): u for family in ("TC", "XDP") for _, u in _units(s, family)}.values()) for s in there}


def by_digest(built: Mapping[BuildKey, Built]) -> dict[str, Any]:
    return {made.digest: made for each in built.values() for made in each.objects.values()}

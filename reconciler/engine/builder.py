"""Compiled services for one command or one look: each kind once, from the cache, the compiler, or what is kept in the root."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from reconciler.errors import CompileError, DocumentError, NotPermitted, Problem
from reconciler.graph.desired import program_slots
from reconciler.graph.parts import Built
from reconciler.model import Topology
from reconciler.service.registry import Service, Services

Progress = Callable[[int, int, str], None]


class Builder:
    """Compiled services, each once. `stored` is the root in which to look first, before any cache, and what to fall back on where
    nothing can be compiled: for who only reads or removes. `digests` stand for what each was compiled from."""

    def __init__(self, services: Services, progress: Progress | None = None, stored: str = "") -> None:
        self._services, self._progress, self._stored = services, progress, stored
        self.built: dict[tuple[str, str], Built] = {}
        self.digests: dict[tuple[str, str], str] = {}

    def ensure(self, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Built]:
        """Compile what is not there yet, all in one go. Raises CompileError."""
        missing = sorted({key for key in wanted if key not in self.built})
        lots: list[tuple[str, str, Any, Any]] = []
        for name, family in missing:
            service = self._services.get(name)
            if service is None:
                raise DocumentError(
                    [
                        Problem(
                            f"the kernel holds a cube of service {name!r}, which is not installed here", hint="use --services DIR"
                        )
                    ]
                )
            lots += [(name, family, slot, unit) for slot, unit in _units(service, family)]
        if self._stored and lots:
            lots = self._without_stored(lots)
        if lots:
            self._compile(lots)
        return self.built

    def _compile(self, lots: Sequence[tuple[str, str, Any, Any]]) -> None:
        from reconciler.compiler import compile_keyed
        from reconciler.live.stored import digest_of

        try:
            made = compile_keyed([unit for *_, unit in lots], progress=self._progress)
        except (CompileError, NotPermitted):
            if not self._stored or self._without_stored(lots, whatever=True):
                raise
            return
        kinds: dict[tuple[str, str], list[tuple[Any, str, Any]]] = {}
        for (name, family, slot, _), (key, found) in zip(lots, made, strict=True):
            kinds.setdefault((name, family), []).append((slot, key, found))
        for kind, parts in kinds.items():
            self.built[kind] = Built({slot: found for slot, _, found in parts})
            self.digests[kind] = digest_of(key for _, key, _ in parts)

    def _without_stored(
        self, lots: Sequence[tuple[str, str, Any, Any]], *, whatever: bool = False
    ) -> list[tuple[str, str, Any, Any]]:
        """What is left to be compiled, once the kinds that the root has were taken from there: those compiled from what is here
        now, or `whatever` they were compiled from."""
        from reconciler.compiler import keys_of
        from reconciler.kernel.bpffs import Bpffs
        from reconciler.kernel.reader import Reader
        from reconciler.live.stored import digest_of, load

        reader = Reader(Bpffs(self._stored))
        for kind in dict.fromkeys((name, family) for name, family, *_ in lots):
            digest = "" if whatever else digest_of(keys_of([unit for name, family, _, unit in lots if (name, family) == kind]))
            found = load(reader, kind, digest)
            if found is not None:
                self.built[kind] = found
        return [lot for lot in lots if lot[:2] not in self.built]

    def with_text(self, name: str, family: str, direction: str, index: int, text: str, path: str = "") -> Built:
        """A service with another text, of the file `path`, in place of one of its C files. Raises CompileError, IndexError."""
        from reconciler.compiler import compile_units

        whole, service = self.ensure([(name, family)])[name, family], self._services.get(name)
        assert service is not None
        units = {
            s: replace(u, text=text, path=path)
            for s, u in _units(service, family)
            if (s.direction, s.index) == (direction, index)
        }
        if not units:
            raise IndexError(f"service {name} has no {direction} program {index}")
        return Built({**whole.objects, **dict(zip(units, compile_units(list(units.values())), strict=True))})

    def one(self, name: str, family: str) -> Built | None:
        if self._services.get(name) is None:
            return None
        try:
            return self.ensure([(name, family)])[name, family]
        except (CompileError, NotPermitted):
            return None


def _units(service: Service, family: str) -> list[tuple[Any, Any]]:
    from reconciler.compiler import Unit

    found, defines = [], {"PCN_SLOWPATH": int(service.slow_path is not None)}
    for slot in program_slots(service, "TC" if family == "TC" else "XDP_DRV"):
        source = service.programs(slot.direction)[slot.index]
        found.append((slot, Unit(source, slot.flavour, slot.direction, service.kind, defines)))
    return found


def units_of(services: Services) -> dict[str, list[Any]]:
    """What each service is compiled from, for TC and for XDP, each once: egress is always TC."""
    there = [service for name in services.names() if (service := services.get(name)) is not None]
    return {s.name: list({str(u): u for family in ("TC", "XDP") for _, u in _units(s, family)}.values()) for s in there}


def by_digest(built: Mapping[tuple[str, str], Built]) -> dict[str, Any]:
    return {made.digest: made for each in built.values() for made in each.objects.values()}


def families(topologies: Iterable[Topology]) -> set[tuple[str, str]]:
    return {(cube.service, "TC" if cube.type == "TC" else "XDP") for topology in topologies for cube in topology.cubes}

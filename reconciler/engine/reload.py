"""Replaces one µCube's program in a live cube, while packets pass: Polycube's `reload`.

It is an apply of a graph that differs from the live one in one program, so it is staged, committed with one write, verified
and, on failure, undone like any other. The service's source is unchanged, so this is drift until the source is changed too, or
an apply restores the service's program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from reconciler.engine.apply import ApplyResult, Options, read_back, unfinished
from reconciler.engine.builder import Builder, by_digest
from reconciler.engine.session import Reconciler, Session
from reconciler.engine.transaction import carry_out
from reconciler.errors import DocumentError, Problem, UsageError
from reconciler.graph.chains import fuse
from reconciler.graph.cube_part import full_config, pack_constants
from reconciler.graph.parts import Built, Desired
from reconciler.graph.records import Live, ProgramRecord, TableRecord
from reconciler.graph.tables import Tables
from reconciler.kernel.bpffs import Bpffs
from reconciler.model import BuildKey, Cube, Topology
from reconciler.plan import make_plan
from reconciler.service.registry import Service, Services


def reload(
    cube: str, code: str | Path, index: int, direction: str = "ingress", options: Options | None = None, *, path: str = ""
) -> ApplyResult:
    """Replace the program of µCube `index` of a live cube by `code`, C text (of the file `path`, in errors) or a file of it,
    which may include files beside the service's own source.

    Tables are kept, and those that only the new code declares are created. Raises CompileError, VerifierError, UsageError for
    an unknown cube or index, DocumentError for tables with incompatible specs, and as `apply`.
    """
    chosen = options or Options()
    text, path = (code.read_text(), str(code)) if isinstance(code, Path) else (code, path)
    reconciler = Reconciler(chosen.root, chosen.services, Builder(chosen.services, chosen.compiling, chosen.root))
    root = Bpffs(chosen.root)
    with root.locked(chosen.lock_timeout):
        live = reconciler.live()
        topologies, live = reconciler.applied(live)
        found = next((c for topology in topologies for c in topology.cubes if c.name == cube), None)
        if found is None:
            raise UsageError(f"there is no cube {cube!r}")
        session = _session(found, (text, path), index, direction, live, topologies, reconciler)
        if session.plan.steps:
            from reconciler.live.execute import Executor

            def verify() -> list[str]:
                return unfinished(session, reconciler, read_back(session, reconciler))

            executor = Executor(root, session.objects, services=chosen.services)
            try:
                carry_out(session.plan, executor, verify, progress=chosen.progress, before=chosen.before)
            finally:
                executor.close()
    return ApplyResult(session)


def _session(
    cube: Cube,
    code: tuple[str, str],
    index: int,
    direction: str,
    live: Live,
    topologies: Sequence[Topology],
    reconciler: Reconciler,
) -> Session:
    """A session whose desired state is the live one but for one program; `code` is its text and path."""
    builder = reconciler.builder
    built = dict(builder.ensure(builder.keys_of(topologies)))
    key = builder.key_of(cube)
    try:
        built[key] = whole = builder.with_text(key, direction, index, *code)
    except IndexError as error:
        raise UsageError(str(error)) from None
    state = dict(live.state)
    service = reconciler.services.get(cube.service)
    assert service is not None
    values = service.constants(cube.name, cube.loglevel, full_config(cube), live.ports[cube.name])
    sides = {slot.side: made for slot, made in whole.objects.items() if (slot.direction, slot.index) == (direction, index)}
    found = [r for r in live.state.values() if isinstance(r, ProgramRecord) and _is(r, cube.name, direction, index)]
    for record in found:
        compiled = sides[record.side]
        state[record.address] = replace(record, object=compiled.digest, constants=pack_constants(compiled, values))
    if not found:
        raise UsageError(f"cube {cube.name!r} does not run {direction} program {index}")
    for table in _tables(cube, topologies, built, builder, reconciler.services, live):
        known = state.setdefault(table.address, table)
        if isinstance(known, TableRecord) and known.spec != table.spec:
            raise DocumentError([Problem(f"table {table.name} is live in another shape: {known.spec} and not {table.spec}")])
    objects = reconciler.objects(live) | by_digest(built)
    chains = fuse(state, reconciler.build_desired(topologies, live).ways, reconciler.services, built, objects)
    desired = Desired(state, chains=chains)
    plan = make_plan(desired, live, reconciler.services, built, objects)
    return Session(desired, live, plan, objects=objects, built=built)


def _is(record: ProgramRecord, cube: str, direction: str, index: int) -> bool:
    return (record.cube, record.direction, record.index) == (cube, direction, index)


def _sizes(service: Service, cube: Cube, live: Live) -> Mapping[str, int]:
    """Sizes (max_entries) of the cube's tables; tables that have grown keep their size."""
    records = {name: live.state.get(f"cube/{cube.name}/table/{name}") for name in service.grows}
    grown = {name: record.spec[3] for name, record in records.items() if isinstance(record, TableRecord)}
    return {**service.sizes(full_config(cube)), **grown}


def _tables(
    cube: Cube, topologies: Sequence[Topology], built: Mapping[BuildKey, Built], builder: Builder, services: Services, live: Live
) -> list[TableRecord]:
    """The cube's tables. Raises DocumentError if they conflict with other cubes' tables."""
    tables = Tables()
    for other in (each for topology in topologies for each in topology.cubes):
        whole = built[builder.key_of(other)].objects
        service = services.get(other.service)
        tables.add(other.name, whole, whole, {}, _sizes(service, other, live) if service is not None else None)
    records = list(tables.records())
    if tables.problems:
        raise DocumentError([Problem(sentence, f"/spec/cubes/{name}") for name, sentence in tables.problems])
    return [record for record in records if record.cube == cube.name or (not record.cube and record.path.startswith("public/"))]

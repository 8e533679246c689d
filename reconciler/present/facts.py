"""The current facts as plain data, for `pcn show --facts`."""

from __future__ import annotations

from typing import Any

from reconciler import facts
from reconciler.engine.apply import Options
from reconciler.engine.builder import Builder
from reconciler.engine.session import Reconciler
from reconciler.kernel import rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.live.facts import host_facts


def facts_now(options: Options) -> list[dict[str, Any]]:
    """The host's facts, each with the cubes whose services name it, and facts that workers published. Raises KernelError."""
    reconciler = Reconciler(options.root, options.services, Builder(options.services, root=options.root, stored=True))
    with Bpffs(options.root).read_locked(options.lock_timeout):
        live = reconciler.live()
        topologies, live = reconciler.applied(live)
    cubes = {cube.name: options.services.get(cube.service) for topology in topologies for cube in topology.cubes}
    wanted = {name: service.facts for name, service in cubes.items() if service is not None}
    of_host = host_facts(facts.HOST, rtnl.links())
    found: list[dict[str, Any]] = [
        _fact(name, value) | {"wanted-by": sorted(cube for cube, names in wanted.items() if name in names)}
        for name, value in of_host.items()
    ]
    own = ((cube, name, value) for cube in sorted(cubes) for name, value in sorted(live.published.get(cube, {}).items()))
    return found + [{"cube": cube, **_fact(name, value)} for cube, name, value in own]


def _fact(name: str, value: Any) -> dict[str, Any]:
    return {"name": name, "version": facts.version(value), "value": value}

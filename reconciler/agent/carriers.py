"""Flush what cubes learned behind netdevs that lost their carrier: the stations may have moved."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from reconciler.engine.perform import perform
from reconciler.errors import LockBusy
from reconciler.graph.records import CubeRecord, Live, PortRecord, State
from reconciler.plan.learned import forget_at, learns_ports
from reconciler.plan.steps import Plan, Step

if TYPE_CHECKING:
    from reconciler.engine.apply import Options
    from reconciler.engine.session import Reconciler
    from reconciler.service.registry import Services

log = logging.getLogger("pcn.agent")


def learn_behind(netdevs: Collection[str], wanted: State, services: Services) -> bool:
    """Whether any cube of this graph may have learned stations behind one of these netdevs."""
    ports = (record for record in wanted.values() if isinstance(record, PortRecord) and record.peer in netdevs)
    cubes = {wanted.get(f"cube/{port.cube}") for port in ports}
    found = (services.get(cube.service) for cube in cubes if isinstance(cube, CubeRecord))
    return any(learns_ports(service) for service in found if service is not None)


def forget_behind(netdevs: Collection[str], options: Options, wanted: State) -> Plan:
    """Delete the learned rows. `wanted`: the graph in force, empty if unknown. Raises LockBusy, KernelError."""
    if wanted and not learn_behind(netdevs, wanted, options.services):
        return Plan()
    return perform(options, lambda reconciler, live: Plan(tuple(_steps(netdevs, reconciler, live))))


def forget_unless_locked(netdevs: Collection[str], options: Options, wanted: State) -> None:
    """As `forget_behind`; without the lock the rows stay until they age, which is logged."""
    try:
        forget_behind(netdevs, options, wanted)
    except LockBusy:
        log.warning("somebody else writes: what was learned behind %s stays until it ages", ", ".join(sorted(netdevs)))


def _steps(netdevs: Collection[str], reconciler: Reconciler, live: Live) -> Iterator[Step]:
    for port in (record for record in live.state.values() if isinstance(record, PortRecord) and record.peer in netdevs):
        cube = live.state.get(f"cube/{port.cube}")
        if not isinstance(cube, CubeRecord):
            continue
        service, built = reconciler.services.get(cube.service), reconciler.builder.one(cube.build_key)
        if service is not None and built is not None:
            yield from forget_at(port, f"{port.peer} lost its carrier", service, built.tables, live.state.__contains__)

"""Which cubes a packet passes behind a stub, and whether it reaches the host in the end; before a step and after it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from reconciler import pins
from reconciler.graph.records import GONE, CubeRecord, HookRecord, NextHopRecord, State, TrampolineRecord, global_records
from reconciler.plan.context import Configs, Context, Surroundings
from reconciler.plan.steps import Step
from reconciler.service.registry import Service, Services

_INWARDS = ("tcx_ingress", "xdp")


@dataclass(frozen=True, slots=True)
class Way:
    """The `cubes` in a packet's order, the last a standard one if there is one; `host`: what is intended for the host reaches
    it."""

    cubes: tuple[str, ...] = ()
    host: bool = True


def way(stub: str, state: State, services: Services) -> Way:
    """The path behind this stub in `state`. Where there is none, packets go to the host."""
    met: list[str] = []
    while stub and stub != GONE:
        entry = state.get(f"stub/{stub}")
        if not isinstance(entry, TrampolineRecord) or entry.cube in met:
            break
        met.append(entry.cube)
        service = service_of(entry.cube, state, services)
        if service is None or service.kind == "standard":
            return Way(tuple(met), service is None or service.implementation.leaves_host)
        # A transparent cube's packets go on by the other one of the two rows that it has at a place (graph/wiring.py).
        hop = state.get(f"cube/{entry.cube}/hop/{entry.side}{entry.index ^ 1}")
        if not isinstance(hop, NextHopRecord) or hop.kind != "program":
            break
        stub = hop.target
    return Way(tuple(met))


def service_of(cube: str, state: State, services: Services) -> Service | None:
    record = state.get(f"cube/{cube}")
    return services.get(record.service) if isinstance(record, CubeRecord) else None


def place_of(step: Step, context: Context, around: Surroundings) -> tuple[Way, Way] | None:
    """The paths before and after a step, where there may be connections now."""
    live, wanted = context.live.state, context.desired.state
    old, new = live.get(step.address), wanted.get(step.address)
    if isinstance(new, HookRecord):
        if new.netdev not in context.live.netdevs or new.netdev in around.made or pins.is_hidden(new.netdev):
            return None
    elif not isinstance(new, NextHopRecord) or new.cube in context.fresh:
        return None
    return way(_stub(old), live, context.services), way(_stub(new), wanted, context.services)


def _stub(record: Any) -> str:
    if isinstance(record, NextHopRecord):
        return record.target if record.kind == "program" else ""
    return record.stub if isinstance(record, HookRecord) and record.stub != GONE else ""


def is_taken(hook: HookRecord, old: Way, new: Way) -> bool:
    """Whether packets that reached the host do not any more."""
    return hook.point in _INWARDS and old.host and not new.host


def arrivals(place: tuple[Way, Way], context: Context, around: Surroundings) -> Iterator[tuple[str, str]]:
    """Cubes that are inserted into the path of older connections, and which of these they cut."""
    old, new = place
    for cube in new.cubes:
        service = service_of(cube, context.desired.state, context.services)
        if cube in old.cubes or service is None or cube not in around.after:
            continue
        if said := service.implementation.cuts(None, around.after[cube]):
            yield cube, said


def changes(before: Configs, after: Configs, state: State, services: Services) -> dict[str, str]:
    """Cubes of which the configuration changes so that it cuts connections, and which."""
    found = {}
    for cube, config in after.items():
        old, service = before.get(cube), service_of(cube, state, services)
        if old is None or old is config or service is None:
            continue
        if said := service.implementation.cuts(old, config):
            found[cube] = said
    return found


def entrances(cubes: Collection[str], state: State, services: Services) -> dict[str, set[str]]:
    """The netdevs at which packets for these cubes arrive, with the cubes that they pass."""
    found: dict[str, set[str]] = {}
    hooks = [each for each in global_records(state).values() if isinstance(each, HookRecord)] if cubes else []
    for hook in hooks:
        met = set(way(_stub(hook), state, services).cubes).intersection(cubes)
        if met and hook.point in _INWARDS and not pins.is_hidden(hook.netdev):
            found.setdefault(hook.netdev, set()).update(met)
    return found

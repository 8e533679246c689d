"""Rules for cubes with a network namespace of their own (`shadow`): its netdevs are called as the ports are."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.check.messages import quoted
from reconciler.check.rules_names import netdev_fault
from reconciler.check.symbol_table import CubeFact, SymbolTable
from reconciler.errors import Problem
from reconciler.pins import MOST_PLACES, shadow_namespace


def shadows(world: SymbolTable) -> Iterator[Problem]:
    """What cannot be in a shadow, or be one."""
    for cube in world.cubes:
        if cube.data.get("span") is True and cube.data.get("shadow") is not True:
            yield (cube.place / "span").problem("span copies packets into the namespace of a shadow", "say shadow: true, too")
        if cube.data.get("shadow") is True:
            yield from _shadow(cube, world)


def _shadow(cube: CubeFact, world: SymbolTable) -> Iterator[Problem]:
    place, namespace = cube.place / "shadow", shadow_namespace(cube.name)
    if cube.hook != "TC":
        words = f"{quoted(cube.name)} is an {cube.hook} cube, and only a TC cube can have a shadow"
        yield place.problem(words, "XDP sends and copies nothing into a network namespace")
    if len(cube.ports) > MOST_PLACES:
        yield place.problem(f"{quoted(cube.name)} has {len(cube.ports)} ports; one with a shadow has at most {MOST_PLACES}")
    for name, other in world.namespaces:
        if name == namespace:
            words = f"the shadow of {quoted(cube.name)} is a network namespace {quoted(name)}, which there is already"
            yield place.problem(words, related=[(other, "it is here")])
    for port in cube.ports:
        fault = "it is the loopback there" if port.name == "lo" else netdev_fault(port.name)
        if fault:
            words = f"{quoted(port.name)} cannot be the name of a network device in the namespace of a shadow: {fault}"
            yield (port.place / "name").problem(words)

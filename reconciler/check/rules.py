"""Rules about the graph that no schema can express, and one order for their findings.

No rule names a service. A service's own constraints are in its schema's x- keywords, or in its own `check`.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from reconciler.check.cube_memo import MEMO
from reconciler.check.rules_links import links
from reconciler.check.rules_loops import loops
from reconciler.check.rules_names import max_ports, names, unique_names
from reconciler.check.rules_peers import peers
from reconciler.check.rules_refs import references
from reconciler.check.rules_services import services
from reconciler.check.rules_shadows import shadows
from reconciler.check.rules_tcubes import chains
from reconciler.check.symbol_table import CubeFact, SymbolTable
from reconciler.errors import Problem

RULES: tuple[Callable[[SymbolTable], Iterator[Problem]], ...] = (
    names, unique_names, max_ports, peers, chains, links, loops, shadows)


def broken_rules(world: SymbolTable) -> Iterator[Problem]:
    for rule in RULES:
        yield from rule(world)


def broken_rules_alone(cube: CubeFact) -> Iterator[Problem]:
    """What is wrong with a cube whatever is around it; nothing, if nothing was the last time."""
    return MEMO().passed(cube.data, chain(references(cube), services(cube)))

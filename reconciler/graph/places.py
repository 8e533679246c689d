"""Where transparent cubes are: at netdevs, by name or by selector, and at ports.

A cube at one place, named by hand, has the place 0, without a name. One that is at several, or that a selector places, has an
index for each, kept for as long as the place is: its programs see it (`pcn_place`), and its records name it like a port's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reconciler.errors import DocumentError, Problem
from reconciler.facts.selector import selected
from reconciler.graph import shadows
from reconciler.model import Topology
from reconciler.pins import MOST_PLACES


@dataclass(frozen=True, slots=True)
class Places:
    """`attached`: the cubes at each netdev, from the wire inwards; those attached by name precede those attached by a
    selector. `named`: of each cube that is at several places, their names: netdevs, and ports as cube:port."""

    attached: Mapping[str, tuple[str, ...]]
    named: Mapping[str, tuple[str, ...]]


def places_of(topologies: Sequence[Topology], netdevs: Mapping[str, str]) -> Places:
    """`netdevs`: the kinds of those that are there, by name."""
    attached: dict[str, list[str]] = {}
    found: dict[str, list[str]] = {}
    by_selector: set[str] = set()
    attachments = [attachment for topology in topologies for attachment in topology.attachments]
    for attachment in sorted(attachments, key=lambda each: bool(each.netdevs)):
        chosen = selected(attachment.netdevs, netdevs) if attachment.netdevs else [attachment.netdev]
        by_selector.update(attachment.tcubes if attachment.netdevs else ())
        for netdev in chosen:
            here = attached.setdefault(netdev, [])
            here += [cube for cube in attachment.tcubes if cube not in here]
    for netdev, here in attached.items():
        for name in here:
            found.setdefault(name, []).append(netdev)
    for owner, port in ((each, port) for topology in topologies for each in topology.cubes for port in each.ports):
        for tcube in port.tcubes:
            found.setdefault(tcube, []).append(f"{owner.name}:{port.name}")
    named = {name: tuple(places) for name, places in found.items() if len(places) > 1}
    named |= {name: tuple(found.get(name, ())) for name in by_selector}
    named |= shadows.places(topologies)
    if crowded := next((name for name, places in named.items() if len(places) > MOST_PLACES), None):
        words = f"{crowded} would be at {len(named[crowded])} places; a cube can be at {MOST_PLACES}"
        raise DocumentError([Problem(words, f"/spec/cubes/{crowded}")])
    return Places({netdev: tuple(here) for netdev, here in attached.items()}, named)

"""A tap: a cube that captures, inserted into the graph while a command runs.

It is in no document. The command requests it (`live/taps`), and every plan adds the requested taps to what was applied. So a tap
is inserted by a heal, which swaps the programs around it as any edit does, and is no drift while it is requested. A process of
its own waits for the end of the command, however it ends, and heals again without the tap. If that process is killed too, the
next apply, the agent or `pcn gc` removes it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from reconciler.capture.describe import captures
from reconciler.capture.follow import Capture
from reconciler.check import check
from reconciler.document import Document
from reconciler.document.suggest import did_you_mean
from reconciler.engine.apply import Options, apply, plan_for
from reconciler.engine.builder import Builder
from reconciler.engine.confirm import refuse_while_unconfirmed
from reconciler.engine.session import Reconciler
from reconciler.errors import ApplyFailed, UsageError
from reconciler.graph.altnames import own_names, with_own_names
from reconciler.graph.taps import places, with_taps
from reconciler.live import taps
from reconciler.model import Cube, Tap, Topology
from reconciler.pins import tap as name_of


@dataclass(frozen=True, slots=True)
class Place:
    """Position of a tap: `at` a port ('br1:p1') or a netdev with attachments, next to its cube; or on the wire's side of the
    transparent cube `outside` there."""

    at: str
    outside: str = ""

    @classmethod
    def of(cls, text: str) -> Place:
        """Parses 'br1:p1', 'eth0', or either followed by '/CUBE'."""
        at, _, outside = text.partition("/")
        return cls(at, outside)

    def __str__(self) -> str:
        return f"{self.at}/{self.outside}" if self.outside else self.at


@contextmanager
def tapped(options: Options, place: Place, leaves: Mapping[str, Any]) -> Iterator[Capture]:
    """Within it a tap captures there. Raises as `with_taps_at`."""
    with with_taps_at(options, [place], leaves) as (cube,):
        config = cube.config
        yield Capture(cube.name, {0: str(place)}, config["snaplen"], config.get("filter", ""), f"a tap at {place}")


@contextmanager
def with_taps_at(options: Options, wanted: Sequence[Place], leaves: Mapping[str, Any]) -> Iterator[tuple[Cube, ...]]:
    """Within it each place has a tap with this configuration; yields their cubes, in order. Raises UsageError for an unknown
    place or if there is drift, DocumentError for an invalid filter, and the errors of an apply."""
    refuse_while_unconfirmed(options.root)
    topologies, builder, netdevs = _applied(options)
    asked = []
    for index, place in enumerate(wanted):
        at = replace(place, at=own_names({place.at}, netdevs).get(place.at, place.at))
        tap = Tap(_cube(options, topologies, at, leaves, index), at.at, at.outside)
        _refuse_unknown(options.root, topologies, tap)
        asked.append(tap)
    builder.ensure({builder.key_of(tap.cube) for tap in asked})
    if plan_for([], options).plan.steps:
        raise UsageError("the kernel is not as applied, and a tap is to change nothing else: apply first\nsee 'pcn drift'")
    names = [tap.cube.name for tap in asked]
    seats = [taps.ask_for(options.root, tap) for tap in asked]
    remover = _remover(options, names)
    try:
        apply([], options)
        there = {cube.name for cube in _placed(options)}
        gone = [str(place) for place, name in zip(wanted, names, strict=True) if name not in there]
        if gone:
            raise ApplyFailed(f"{', '.join(gone)} is not there any more")
        yield tuple(tap.cube for tap in asked)
    finally:
        for seat in seats:
            seat.release()
        if remover.stdin is not None:
            remover.stdin.close()
        remover.wait()


def _applied(options: Options) -> tuple[list[Topology], Builder, Mapping[str, Any]]:
    """The topologies, with netdevs by their primary names; and the netdevs."""
    builder = Builder(options.services, options.compiling, options.root)
    reconciler = Reconciler(options.root, options.services, builder)
    applied, live = reconciler.applied(reconciler.live())
    return list(with_own_names(applied, live.netdevs)), builder, live.netdevs


def _placed(options: Options) -> list[Cube]:
    topologies, *_ = _applied(options)
    return [cube for topology in with_taps(topologies, taps.read(options.root)) for cube in topology.cubes]


def _refuse_unknown(root: str, topologies: list[Topology], tap: Tap) -> None:
    if with_taps(topologies, [tap]) != topologies:
        return
    known = places(topologies)
    if tap.place in known:
        raise UsageError(f"there is no transparent cube {tap.outside!r} at {tap.place}")
    bare = ":" not in tap.place and not tap.outside  # perhaps the name of a cube that captures
    capturing = [cube.name for topology in topologies for cube in topology.cubes if bare and captures(root, cube.name)]
    hint = did_you_mean(tap.place, [*known, *capturing])
    what = "cube and no port or attachment" if bare else "port or attachment"
    raise UsageError(f"there is no {what} {tap.place!r}" + (f"; {hint}" if hint else ""))


def _cube(options: Options, topologies: list[Topology], place: Place, leaves: Mapping[str, Any], index: int) -> Cube:
    """The cube of the tap of this index, of the same type as its neighbour. It passes the same check as a document."""
    service = next((each for each in options.services.names() if _can_tap(options, each)), None)
    if service is None:
        raise UsageError("no service here can be placed as a tap")
    at = places(topologies).get(place.at)
    names = [name for topology in topologies for each in topology.attachments if each.netdev == place.at for name in each.tcubes]
    beside = at or next((cube for topology in topologies for cube in topology.cubes if cube.name in names), None)
    data = {"name": "tap", "service-name": service, "type": beside.type if beside else "TC", **leaves}
    document = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "tap"}, "spec": {"cubes": [data]}}
    (topology,), _ = check([Document("tap", "", document, 0)], options.services)
    return replace(topology.cubes[0], name=name_of(os.getpid(), index), topology="")


def _can_tap(options: Options, name: str) -> bool:
    service = options.services.get(name)
    return service is not None and service.taps


def _remover(options: Options, names: Sequence[str]) -> subprocess.Popen[bytes]:
    """Starts the process that removes the taps once our end of its stdin is closed. It runs in a session of its own, so it
    survives us and the terminal."""
    what = [options.root, ",".join(names), *map(str, options.services.directories)]
    command = [sys.executable, "-m", "reconciler.capture.untap", *what]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, start_new_session=True)

"""A topology as a drawing: boxes and the wires between them. Pure.

A wire runs from a port to its peer, through the transparent cubes in between. A veth and its far end are one wire to a host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from reconciler.model import Cube, Link, LinkEnd, Port, Topology
from reconciler.present.addresses import addresses

CUBE, TRANSPARENT, HOST, NETDEV, MISSING, OPEN = "cube", "transparent", "host", "netdev", "missing", "open"


@dataclass(frozen=True, slots=True)
class Box:
    """`kind` is one of those above; `title` and `lines` are its contents, `topology` its owner."""

    key: str
    kind: str
    title: str
    lines: tuple[str, ...] = ()
    topology: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """From box `one` to `other`. `tail` and `head` are the labels of these ends (a port), `label` that of the wire (a netdev)."""

    one: str
    other: str
    tail: str = ""
    head: str = ""
    label: str = ""


@dataclass(slots=True)
class Drawing:
    boxes: dict[str, Box] = field(default_factory=dict)
    wires: list[Wire] = field(default_factory=list)

    def groups(self) -> dict[str, list[Box]]:
        """The boxes by topology."""
        found: dict[str, list[Box]] = {}
        for box in self.boxes.values():
            found.setdefault(box.topology, []).append(box)
        return found


def draw(topologies: Sequence[Topology], kinds: Mapping[str, str], netdevs: Collection[str] | None = None) -> Drawing:
    """The drawing of all these topologies. `kinds`: 'standard' or 'transparent' by service. `netdevs`: those
    present, others are drawn as missing; None: unknown."""
    return _Draughtsman(topologies, kinds, netdevs).drawing


class _Draughtsman:
    def __init__(self, topologies: Sequence[Topology], kinds: Mapping[str, str], netdevs: Collection[str] | None) -> None:
        self.drawing = Drawing()
        self.netdevs = netdevs
        self.cubes = {cube.name: cube for topology in topologies for cube in topology.cubes}
        self.kinds = kinds
        self.links = {
            end.name: (link, end)
            for topology in topologies
            for link in topology.links
            for end in (link.end, link.peer)
            if end is not None and end.netns is None
        }
        self.hosts: dict[str, list[LinkEnd]] = {}
        for end in (end for topology in topologies for link in topology.links for end in (link.end, link.peer)):
            if end is not None and end.netns is not None:
                self.hosts.setdefault(end.netns, []).append(end)
        places = [(topology.name, item) for topology in topologies for item in topology.attachments]
        self.attached = {item.netdev or item.netdevs: item.tcubes for _, item in places}
        self.selectors = {item.netdevs for _, item in places if not item.netdev}
        self.owners = {item.netdev or item.netdevs: name for name, item in places}
        for cube in self.cubes.values():
            lines = (f"{cube.service} ({cube.type})", *port_lines(cube))
            self._box(Box(f"cube {cube.name}", self._kind(cube), cube.name, lines, cube.topology))
        self.through = {(cube.name, port.name): port.tcubes for cube in self.cubes.values() for port in cube.ports}
        self._wires()

    def _kind(self, cube: Cube) -> str:
        return TRANSPARENT if self.kinds.get(cube.service) == "transparent" else CUBE

    def _box(self, box: Box) -> str:
        self.drawing.boxes.setdefault(box.key, box)
        return box.key

    def _wires(self) -> None:
        netdevs: set[str] = set()
        done: set[tuple[str, str]] = set()
        for cube in self.cubes.values():
            for port in cube.ports:
                here = (cube.name, port.name)
                other, _, name = (port.peer or "").partition(":")
                if here in done or (port.peer is None and not port.tcubes):
                    continue
                if port.peer is None:
                    end = self._box(Box(f"open {cube.name}:{port.name}", OPEN, "not connected", topology=cube.topology))
                    self._chain([f"cube {cube.name}", *self._cubes(port.tcubes[::-1]), end], port.name, "", "")
                    continue
                if name and other in self.cubes:
                    done.add((other, name))
                    self._chain(
                        [
                            f"cube {cube.name}",
                            *self._cubes(reversed(port.tcubes)),
                            *self._cubes(self.through.get((other, name), ())),
                            f"cube {other}",
                        ],
                        port.name,
                        name,
                        "",
                    )
                    continue
                netdevs.add(port.peer)
                end, head, label = self._end(port.peer, cube.topology)
                inwards = [*port.tcubes[::-1], *self.attached.get(port.peer, ())[::-1]]
                self._chain([f"cube {cube.name}", *self._cubes(inwards), end], port.name, head, label)
        for netdev, cubes in self.attached.items():
            if netdev not in netdevs:
                owner = self.owners[netdev]
                end, head, label = self._end(netdev, owner)
                stack = self._box(Box(f"stack {netdev}", NETDEV, "this host", topology=owner))
                self._chain([stack, *self._cubes(reversed(cubes)), end], "", head, label)

    def _cubes(self, names: Sequence[str] | Iterator[str]) -> list[str]:
        return [f"cube {name}" for name in names if name in self.cubes]

    def _chain(self, keys: Sequence[str], tail: str, head: str, label: str) -> None:
        """Wires that connect these boxes in order; `tail` is at the first wire, `head` and `label` at the last."""
        for number, (one, other) in enumerate(pairwise(keys)):
            last = number == len(keys) - 2
            self.drawing.wires.append(Wire(one, other, tail if number == 0 else "", head if last else "", label if last else ""))

    def _end(self, netdev: str, owner: str) -> tuple[str, str, str]:
        """(box, label of the end there, label of the wire) for the far side of a netdev."""
        missing = self.netdevs is not None and netdev not in self.netdevs and netdev not in self.selectors
        gone, kind = (("is not there",), MISSING) if missing else ((), NETDEV)
        if netdev not in self.links:
            return self._box(Box(f"netdev {netdev}", kind, netdev, gone, owner)), "", ""
        link, near = self.links[netdev]
        far = _far(link, near)
        if far is None:
            return self._box(Box(f"netdev {netdev}", kind, netdev, (link.kind, *near.addresses, *gone), owner)), "", ""
        label = f"{netdev} is not there" if missing else netdev
        if far.netns is None:
            return self._box(Box(f"netdev {far.name}", kind, far.name, far.addresses, owner)), "", label
        lines = tuple(f"{end.name} {' '.join(end.addresses)}".rstrip() for end in self.hosts[far.netns])
        return self._box(Box(f"host {far.netns}", MISSING if missing else HOST, far.netns, lines, owner)), far.name, label


def port_lines(cube: Cube) -> Iterator[str]:
    """The lines on a cube's ports in its box: their addresses, and which are not connected."""
    for port in cube.ports:
        said = addresses(port.config)
        words = [" ".join(said)] * bool(said) + ["not connected"] * is_open(port)
        if words:
            yield f"{port.name} {', '.join(words)}"


def is_open(port: Port) -> bool:
    return port.peer is None and not port.tcubes


def _far(link: Link, near: LinkEnd) -> LinkEnd | None:
    return link.peer if link.end is near else link.end if link.peer is near else None

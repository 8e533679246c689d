"""A drawing as plain text, as DOT for Graphviz, and as Mermaid. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from textwrap import wrap

from reconciler.document.diagnostics import escape
from reconciler.model import Cube, Topology
from reconciler.present.addresses import addresses
from reconciler.present.graph import CUBE, HOST, MISSING, NETDEV, OPEN, TRANSPARENT, Drawing, Wire, draw

_ADDRESSES = 44  # columns; longer addresses do not widen their column


def as_text(
    topologies: Sequence[Topology], kinds: Mapping[str, str], netdevs: Collection[str] | None = None, width: int = 0
) -> str:
    """Cubes with their ports, and the path from each port to its peer; by topology, if there are several. Lines are wrapped at
    `width` columns, unless that is 0."""
    drawing = draw(topologies, kinds, netdevs)
    lines: list[str] = []
    for topology in topologies:
        lines += [f"topology {topology.name}"] if len(topologies) > 1 else []
        lines += _topology(topology, kinds, drawing)
    return "\n".join(part for line in lines for part in _folded(escape(line), width))


def _topology(topology: Topology, kinds: Mapping[str, str], drawing: Drawing) -> list[str]:
    lines: list[str] = []
    for cube in topology.cubes:
        if kinds.get(cube.service) == "transparent":
            continue
        lines.append(f"{cube.name}  {cube.service} ({cube.type})")
        said = {port.name: " ".join(addresses(port.config)) for port in cube.ports}
        wide = max((len(name) for name in said), default=0)
        column = max((len(text) for text in said.values() if len(text) <= _ADDRESSES), default=0)
        for port in cube.ports:
            there = f"{said[port.name]:<{column}}  " if column else f"{said[port.name]} ".lstrip()
            lines.append(f"  {port.name:<{wide}}  {there}{_way(cube, port.name, drawing)}".rstrip())
    for wire in drawing.wires:
        if wire.one.startswith("stack ") and drawing.boxes[wire.one].topology == topology.name:
            lines.append(f"this host  {_onwards(wire, drawing)}")
    shown = {word for line in lines for word in line.replace("[", " ").replace("]", " ").split()}
    lines += [f"{cube.name}  {cube.service} ({cube.type}), not on any wire" for cube in topology.cubes if cube.name not in shown]
    return lines


def _folded(line: str, width: int) -> list[str]:
    if not width or len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    return wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _way(cube: Cube, port: str, drawing: Drawing) -> str:
    for wire in drawing.wires:
        if (wire.one, wire.tail) == (f"cube {cube.name}", port):
            return _onwards(wire, drawing)
        if (wire.other, wire.head) == (f"cube {cube.name}", port):
            return _onwards(wire, drawing, backwards=True)
    return "-- not connected"


def _onwards(wire: Wire, drawing: Drawing, *, backwards: bool = False) -> str:
    """The path along a wire, through transparent cubes, to the next other box."""
    words = []
    while True:
        box = drawing.boxes[wire.one if backwards else wire.other]
        words += [wire.label] if wire.label and not backwards else []
        if box.kind != TRANSPARENT:
            port = wire.tail if backwards else wire.head
            line = next((line for line in box.lines if line.split()[0] == port), port) if box.key.startswith("host ") else port
            lines = box.lines if box.kind in (NETDEV, MISSING) else ()
            words.append(f"{box.title}:{line}" if port else " ".join([box.title, *lines]))
            return "-- " + " -- ".join(words)
        words.append(f"[{box.title}]")
        onwards = [each for each in drawing.wires if (each.other if backwards else each.one) == box.key]
        if not onwards:
            return "-- " + " -- ".join(words)
        wire = onwards[0]


def as_dot(drawing: Drawing) -> str:
    shapes = {CUBE: "box", TRANSPARENT: "cds", HOST: "box3d", NETDEV: "ellipse", OPEN: "plaintext"}
    shapes[MISSING] = "ellipse, style=dashed"
    lines = ["graph pcn {", "  rankdir=LR; node [fontname=Helvetica, fontsize=11]; edge [fontname=Helvetica, fontsize=9];"]
    groups = drawing.groups()
    for number, (topology, boxes) in enumerate(groups.items()):
        if len(groups) > 1:
            lines.append(f'  subgraph cluster_{number} {{ label="{_dot(topology)}"; style=rounded; color=gray;')
        for box in boxes:
            label = "\\n".join(_dot(text) for text in (box.title, *box.lines))
            lines.append(f'  "{_dot(box.key)}" [shape={shapes[box.kind]}, label="{label}"];')
        lines += ["  }"] if len(groups) > 1 else []
    for wire in drawing.wires:
        ends = "".join(
            f', {name}="{_dot(text)}"'
            for name, text in (("taillabel", wire.tail), ("headlabel", wire.head), ("label", wire.label))
            if text
        )
        lines.append(f'  "{_dot(wire.one)}" -- "{_dot(wire.other)}" [labeldistance=1.6{ends}];')
    return "\n".join([*lines, "}"])


def _dot(text: str) -> str:
    return escape(text).replace("\\", "\\\\").replace('"', '\\"')


def as_mermaid(drawing: Drawing) -> str:
    numbers = {key: f"n{number}" for number, key in enumerate(drawing.boxes)}
    left, right = (
        {CUBE: "[", TRANSPARENT: "{{", HOST: "[[", NETDEV: "([", MISSING: "([", OPEN: "(("},
        {CUBE: "]", TRANSPARENT: "}}", HOST: "]]", NETDEV: "])", MISSING: "])", OPEN: "))"},
    )
    lines = ["flowchart LR"]
    groups = drawing.groups()
    for number, (topology, boxes) in enumerate(groups.items()):
        lines += [f'  subgraph t{number} ["{_mermaid(topology)}"]'] if len(groups) > 1 else []
        for box in boxes:
            label = "<br/>".join(_mermaid(text) for text in (box.title, *box.lines))
            lines.append(f'  {numbers[box.key]}{left[box.kind]}"{label}"{right[box.kind]}')
        lines += ["  end"] if len(groups) > 1 else []
    missing = [numbers[box.key] for box in drawing.boxes.values() if box.kind == MISSING]
    lines += [f"  style {number} stroke-dasharray:5 3" for number in missing]
    for wire in drawing.wires:
        label = " ".join(_mermaid(text) for text in (wire.tail, wire.label, wire.head) if text)
        lines.append(
            f"  {numbers[wire.one]} ---{f'|{json.dumps(label, ensure_ascii=False)}|' if label else ''} {numbers[wire.other]}"
        )
    return "\n".join(lines)


def _mermaid(text: str) -> str:
    return (
        escape(text).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;").replace("#", "&#35;")
    )

"""A drawing as text for people, for Graphviz and for Mermaid. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from reconciler.document.diagnostics import escape
from reconciler.model import Cube, Topology
from reconciler.present.graph import CUBE, HOST, NETDEV, TRANSPARENT, Drawing, Wire, draw


def as_text(topologies: Sequence[Topology], kinds: Mapping[str, str]) -> str:
    """A cube with its ports, and what each leads to, from the port to the wire."""
    drawing = draw(topologies, kinds)
    lines: list[str] = []
    for cube in (cube for topology in topologies for cube in topology.cubes):
        if kinds.get(cube.service) == "transparent":
            continue
        lines.append(f"{cube.name}  {cube.service} ({cube.type})")
        wide = max((len(port.name) for port in cube.ports), default=0)
        for port in cube.ports:
            lines.append(f"  {port.name:<{wide}}  {_way(cube, port.name, drawing)}".rstrip())
    for wire in drawing.wires:
        if wire.one.startswith("stack "):
            lines.append(f"this host  {_onwards(wire, drawing)}")
    shown = {word for line in lines for word in line.replace("[", " ").replace("]", " ").split()}
    lines += [
        f"{cube.name}  {cube.service} ({cube.type}), not on any wire"
        for topology in topologies
        for cube in topology.cubes
        if cube.name not in shown
    ]
    return "\n".join(escape(line) for line in lines)


def _way(cube: Cube, port: str, drawing: Drawing) -> str:
    for wire in drawing.wires:
        if (wire.one, wire.tail) == (f"cube {cube.name}", port):
            return _onwards(wire, drawing)
        if (wire.other, wire.head) == (f"cube {cube.name}", port):
            return _onwards(wire, drawing, backwards=True)
    return "-- nothing"


def _onwards(wire: Wire, drawing: Drawing, *, backwards: bool = False) -> str:
    """From a wire's end on, through transparent cubes, to the next box that ends it."""
    words = []
    while True:
        box = drawing.boxes[wire.one if backwards else wire.other]
        words += [wire.label] if wire.label and not backwards else []
        if box.kind != TRANSPARENT:
            port = wire.tail if backwards else wire.head
            line = next((line for line in box.lines if line.split()[0] == port), port) if box.kind == HOST else port
            words.append(f"{box.title}:{line}" if port else " ".join([box.title, *(box.lines if box.kind == NETDEV else ())]))
            return "-- " + " -- ".join(words)
        words.append(f"[{box.title}]")
        onwards = [each for each in drawing.wires if (each.other if backwards else each.one) == box.key]
        if not onwards:
            return "-- " + " -- ".join(words)
        wire = onwards[0]


def as_dot(drawing: Drawing) -> str:
    shapes = {CUBE: "box", TRANSPARENT: "cds", HOST: "box3d", NETDEV: "ellipse"}
    lines = ["graph pcn {", "  rankdir=LR; node [fontname=Helvetica, fontsize=11]; edge [fontname=Helvetica, fontsize=9];"]
    for box in drawing.boxes.values():
        label = "\\n".join(_dot(text) for text in (box.title, *box.lines))
        lines.append(f'  "{_dot(box.key)}" [shape={shapes[box.kind]}, label="{label}"];')
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
        {CUBE: "[", TRANSPARENT: "{{", HOST: "[[", NETDEV: "(["},
        {CUBE: "]", TRANSPARENT: "}}", HOST: "]]", NETDEV: "])"},
    )
    lines = ["flowchart LR"]
    for box in drawing.boxes.values():
        label = "<br/>".join(_mermaid(text) for text in (box.title, *box.lines))
        lines.append(f'  {numbers[box.key]}{left[box.kind]}"{label}"{right[box.kind]}')
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

"""A drawing as SVG, without external programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape as html

from reconciler.document.diagnostics import escape
from reconciler.present.graph import CUBE, HOST, MISSING, NETDEV, OPEN, TRANSPARENT, Box, Drawing, Wire
from reconciler.present.graph_layout import GraphLayout, layout

_TITLE, _LINE, _LABEL = 14, 12, 11  # font sizes
_PAD, _GAP, _MARGIN, _SLOT = 12, 24, 24, 20
_HEAD, _FRAME = 20, 12  # of a topology's frame: the line of its name, and the padding
_ASPECT = 0.6  # of a letter's width to the font size, rounded up
_STYLE = """\
  <style>
    text { font-family: Inter, "Helvetica Neue", Helvetica, Arial, "DejaVu Sans", sans-serif; fill: #1f2937; }
    .title { font-size: 14px; font-weight: 600; } .line { font-size: 12px; fill: #4b5563; }
    .label { font-size: 11px; fill: #6b7280; } .port { font-size: 11px; fill: #1d4ed8; }
    .halo { stroke: #ffffff; stroke-width: 4; paint-order: stroke; stroke-linejoin: round; }
    .wire { fill: none; stroke: #9ca3af; stroke-width: 1.5; } .end { fill: #6b7280; }
    .cube { fill: #eff6ff; stroke: #3b82f6; stroke-width: 1.5; }
    .transparent { fill: #fffbeb; stroke: #d97706; stroke-width: 1.5; stroke-dasharray: 5 3; }
    .host { fill: #f9fafb; stroke: #6b7280; stroke-width: 1.5; } .netdev { fill: #f0fdf4; stroke: #16a34a; stroke-width: 1.5; }
    .missing { fill: #fef2f2; stroke: #dc2626; stroke-width: 1.5; stroke-dasharray: 5 3; }
    .open { fill: #ffffff; stroke: #d1d5db; } .frame { fill: #fcfcfd; stroke: #d1d5db; }
    .name { font-size: 12px; font-weight: 600; fill: #6b7280; }
  </style>"""
_ROUND = {CUBE: 8, TRANSPARENT: 8, HOST: 2, NETDEV: 18, MISSING: 18, OPEN: 18}


def as_svg(drawing: Drawing) -> str:
    return _Picture(drawing).text()


def _width(text: str, size: int) -> float:
    return len(escape(text)) * size * _ASPECT


class _Picture:
    def __init__(self, drawing: Drawing) -> None:
        self.boxes, self.wires = drawing.boxes, drawing.wires
        self.wide = {
            key: max([_width(box.title, _TITLE), *(_width(line, _LINE) for line in box.lines)]) + 2 * _PAD
            for key, box in self.boxes.items()
        }
        ends: dict[str, int] = {}
        for wire in self.wires:
            for key in (wire.one, wire.other):
                ends[key] = ends.get(key, 0) + 1
        self.high = {
            key: max(_PAD * 2 + _TITLE + len(box.lines) * 17, (ends.get(key, 0) + 1) // 2 * _SLOT + _PAD)
            for key, box in self.boxes.items()
        }
        self.groups = {name: [box.key for box in boxes] for name, boxes in drawing.groups().items()}
        self.layout: GraphLayout = self._layout()
        self.x = self._columns()
        top = min((self.layout.y[key] - self.high[key] / 2 for key in self.boxes), default=0.0)
        self.y = {key: self.layout.y[key] - top + _MARGIN + (_HEAD if len(self.groups) > 1 else 0) for key in self.boxes}
        self.ends = self._ends()

    def _layout(self) -> GraphLayout:
        """Lay out each topology on its own, one below the other, with room for its frame. Columns are shared."""
        whole, top = GraphLayout(), 0.0
        for keys in self.groups.values():
            own = {*keys}
            wires = [(wire.one, wire.other) for wire in self.wires if wire.one in own and wire.other in own]
            part = layout(keys, wires, self.high, _GAP)
            upper = min(part.y[key] - self.high[key] / 2 for key in keys)
            whole.column |= part.column
            whole.y |= {key: part.y[key] - upper + top for key in keys}
            top = max(whole.y[key] + self.high[key] / 2 for key in keys) + _HEAD + 2 * _FRAME + _GAP
        return whole

    def _columns(self) -> dict[str, float]:
        """Horizontal centres of the boxes. The labels of the wires between two columns determine their distance."""
        columns = self.layout.columns()
        x: dict[str, float] = {}
        left = float(_MARGIN)
        for number, column in enumerate(columns):
            wide = max(self.wide[key] for key in column)
            x |= dict.fromkeys(column, left + wide / 2)
            left += wide + self._between(number)
        return x

    def _between(self, number: int) -> float:
        crossing = [
            wire
            for wire in self.wires
            if number in (self.layout.column[wire.one], self.layout.column[wire.other])
            and number + 1 in (self.layout.column[wire.one], self.layout.column[wire.other])
        ]
        return (
            max(
                (sum(_width(text, _LABEL) + 14 for text in (wire.tail, wire.label, wire.head) if text) for wire in crossing),
                default=0.0,
            )
            + 40
        )

    def _ends(self) -> dict[tuple[int, str], tuple[float, float, int]]:
        """(wire's number, box) to (x, y, side): the ends at each side of a box, sorted by the height of the opposite boxes."""
        sides: dict[tuple[str, int], list[int]] = {}
        for number, wire in enumerate(self.wires):
            for here, there in ((wire.one, wire.other), (wire.other, wire.one)):
                side = 1 if self.layout.column[there] >= self.layout.column[here] else -1
                sides.setdefault((here, side), []).append(number)
        found = {}
        for (key, side), numbers in sides.items():
            numbers.sort(key=lambda number: self.y[self._opposite(number, key)])
            for place, number in enumerate(numbers):
                offset = (place - (len(numbers) - 1) / 2) * _SLOT
                found[number, key] = (self.x[key] + side * self.wide[key] / 2, self.y[key] + offset, side)
        return found

    def _opposite(self, number: int, key: str) -> str:
        wire = self.wires[number]
        return wire.other if wire.one == key else wire.one

    def text(self) -> str:
        right = max((self.x[key] + self.wide[key] / 2 for key in self.boxes), default=0.0) + _MARGIN
        bottom = max((self.y[key] + self.high[key] / 2 for key in self.boxes), default=0.0) + _MARGIN
        size = f'width="{right:.0f}" height="{bottom:.0f}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {right:.0f} {bottom:.0f}" role="img">'
        parts = [head, "  <title>topology</title>", _STYLE, f'  <rect {size} fill="#ffffff"/>']
        if len(self.groups) > 1:
            parts += [line for name, keys in self.groups.items() for line in self._frame(name, keys, right)]
        for number, wire in enumerate(self.wires):
            parts += self._wire(number, wire)
        for box in self.boxes.values():
            parts += self._box(box)
        return "\n".join([*parts, "</svg>"])

    def _frame(self, name: str, keys: list[str], right: float) -> Iterator[str]:
        top = min(self.y[key] - self.high[key] / 2 for key in keys) - _FRAME - _HEAD
        high = max(self.y[key] + self.high[key] / 2 for key in keys) + _FRAME - top
        left = _MARGIN - _FRAME
        yield f'  <rect class="frame" x="{left}" y="{top:.1f}" width="{right - 2 * left:.1f}" height="{high:.1f}" rx="6"/>'
        yield _text("name", left + 10, top + 18, name, "start")

    def _wire(self, number: int, wire: Wire) -> Iterator[str]:
        x1, y1, side1 = self.ends[number, wire.one]
        x2, y2, side2 = self.ends[number, wire.other]
        bend = max(30.0, abs(x2 - x1) / 2.5)
        start, end = f"{x1:.1f} {y1:.1f}", f"{x2:.1f} {y2:.1f}"
        yield f'  <path class="wire" d="M{start} C{x1 + side1 * bend:.1f} {y1:.1f} {x2 + side2 * bend:.1f} {y2:.1f} {end}"/>'
        for x, y in ((x1, y1), (x2, y2)):
            yield f'  <circle class="end" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
        for text, x, y, side in ((wire.tail, x1, y1, side1), (wire.head, x2, y2, side2)):
            if text:
                yield _text("port halo", x + side * 7, y - 5, text, "start" if side > 0 else "end")
        if wire.label:
            aside = side1 * bend * 0.75 if side1 == side2 else 0.0
            yield _text("label halo", (x1 + x2) / 2 + aside, (y1 + y2) / 2 + 4, wire.label, "middle")

    def _box(self, box: Box) -> Iterator[str]:
        x, y, wide, high = self.x[box.key], self.y[box.key], self.wide[box.key], self.high[box.key]
        corner = f'x="{x - wide / 2:.1f}" y="{y - high / 2:.1f}"'
        yield f'  <rect class="{box.kind}" {corner} width="{wide:.1f}" height="{high:.1f}" rx="{_ROUND[box.kind]}"/>'
        first = y - len(box.lines) * 17 / 2 + 5
        yield _text("title", x, first, box.title, "middle")
        for number, line in enumerate(box.lines, 1):
            yield _text("line", x, first + number * 17, line, "middle")


def _text(style: str, x: float, y: float, text: str, anchor: str) -> str:
    return f'  <text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html(escape(text))}</text>'

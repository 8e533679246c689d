"""Tables as Markdown, JSON and an SVG picture. Pure.

The picture is drawn here: it is a few rectangles and words, and a plotting library would bring 60 MB for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from benchmarks.compare import Row, Table

_LEFT, _BAR, _RIGHT, _LINE, _TOP = 250, 360, 190, 24, 34
_STYLE = """\
  <style>
    text { font: 13px Inter, "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; fill: #1f2937; }
    .title { font-weight: 600; } .value { fill: #4b5563; }
    .bar { fill: #93c5fd; } .base { fill: #d1d5db; } .spread { stroke: #1f2937; stroke-width: 1.2; }
  </style>"""


def number(value: float) -> str:
    """With as many digits as mean something."""
    if value >= 100_000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def as_markdown(title: str, about: str, tables: Sequence[Table], machine: str) -> str:
    lines = [f"# {title}", "", about.strip(), "", f"*{machine}*", ""]
    for table in tables:
        lines += [f"## {table.title}", "", *_table(table), ""]
        if table.note:
            lines += [table.note.strip(), ""]
    missed = [line for table in tables for line in table.missed()]
    if missed:
        lines += ["## Goals that were missed", "", *(f"- {line}" for line in missed), ""]
    return "\n".join(lines)


def _table(table: Table) -> Iterator[str]:
    rated = bool(table.against)
    goals = {goal.row: goal for goal in table.goals}
    heads = ["", table.unit, "least to most"]
    heads += [f"times better than {table.against}"] if rated else []
    heads += ["goal"] if goals else []
    yield f"| {' | '.join(heads)} |"
    yield "|---" + "|--:" * (2 + rated) + ("|---|" if goals else "|")
    for row in table.rows:
        cells = [row.name, number(row.median), _spread(row)]
        if rated:
            cells.append("" if row.ratio is None else f"{row.ratio:.2f}")
        if goals:
            goal = goals.get(row.name)
            cells.append(f"{goal.words()}: {'reached' if goal.met(row) else '**missed**'}" if goal else "")
        yield f"| {' | '.join(cells)} |"


def _spread(row: Row) -> str:
    return f"{number(min(row.turns))} to {number(max(row.turns))}" if len(row.turns) > 1 else ""


def as_json(title: str, tables: Sequence[Table], machine: str) -> str:
    """Every turn of every contender."""
    said: list[dict[str, Any]] = [
        {"title": table.title, "unit": table.unit, "against": table.against,
         "rows": [{"name": row.name, "median": row.median, "ratio": row.ratio, "turns": list(row.turns)} for row in table.rows]}
        for table in tables
    ]  # fmt: skip
    return json.dumps({"title": title, "machine": machine, "tables": said}, indent=1) + "\n"


def as_svg(title: str, tables: Sequence[Table], machine: str) -> str:
    """A bar for each contender, as long as its median; a thin line from the least to the most."""
    parts, y = [], 52
    for table in tables:
        most = max((max(row.turns) for row in table.rows), default=0) or 1
        parts.append(_text("title", 16, y, f"{table.title} ({table.unit})"))
        for row in table.rows:
            y += _LINE
            parts += _bar(row, y, most, "base" if row.name == table.against else "bar")
        y += _TOP
    wide = _LEFT + _BAR + _RIGHT
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{y}" viewBox="0 0 {wide} {y}" role="img">'
    paper = f'  <rect width="{wide}" height="{y}" fill="#ffffff"/>'
    top = [head, f"  <title>{escape(title)}</title>", _STYLE, paper, _text("value", 16, 24, f"{title}. {machine}")]
    return "\n".join([*top, *parts, "</svg>", ""])


def _bar(row: Row, y: int, most: float, style: str) -> Iterator[str]:
    def x(value: float) -> float:
        return _LEFT + _BAR * value / most

    yield f'  <text x="{_LEFT - 8}" y="{y}" text-anchor="end">{escape(row.name)}</text>'
    yield f'  <rect class="{style}" x="{_LEFT}" y="{y - 12}" width="{x(row.median) - _LEFT:.1f}" height="15"/>'
    yield f'  <path class="spread" d="M{x(min(row.turns)):.1f} {y - 4.5} H{x(max(row.turns)):.1f}"/>'
    ratio = "" if row.ratio is None else f"  ×{row.ratio:.2f}"
    yield _text("value", _LEFT + _BAR + 8, y, number(row.median) + ratio)


def _text(style: str, x: float, y: float, text: str) -> str:
    return f'  <text class="{style}" x="{x}" y="{y}" xml:space="preserve">{escape(text)}</text>'

"""The pictures in docs/pictures are those that pcn draws: of 2, 10 and 40 cubes, a star of 39 ports and an office."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from tests.lib import pictures

DRAWN = pictures.pictures()
CUBES = {"two-cubes.svg": 2, "ten-cubes.svg": 10, "forty-cubes.svg": 40, "star.svg": 1}
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_the_one_that_is_drawn_today(name: str) -> None:
    committed = pictures.DIRECTORY / name
    assert committed.read_text("utf-8") == DRAWN[name], "run .venv/bin/python -m tests.lib.pictures, and look at them"


@pytest.mark.parametrize("name", CUBES)
def test_a_picture_has_all_cubes_and_no_two_words_or_boxes_on_one_another(name: str) -> None:
    root = ElementTree.fromstring(DRAWN[name])
    boxes = [each for each in root.iter(f"{SVG}rect") if each.get("class")]
    assert sum(each.get("class") in ("cube", "transparent") for each in boxes) == CUBES[name]
    sides = [tuple(float(each.get(side, "0")) for side in ("x", "y", "width", "height")) for each in boxes]
    for (x, y, w, h), (p, q, v, u) in combinations(sides, 2):
        assert x + w <= p or p + v <= x or y + h <= q or q + u <= y
    words = [_extent(each) for each in root.iter(f"{SVG}text")]
    for (x, y, w, h), (p, q, v, u) in combinations(words, 2):
        assert x + w <= p or p + v <= x or y + h <= q or q + u <= y


def test_every_picture_is_in_the_docs() -> None:
    text = "".join(path.read_text("utf-8") for path in (pictures.HOME / "docs").rglob("*.md"))
    assert {*re.findall(r"pictures/([a-z-]+\.svg)", text)} == {*DRAWN}


def _extent(text: ElementTree.Element) -> tuple[float, float, float, float]:
    """About where a text stands: narrower than it is, for letters differ."""
    size = {"title": 14, "line": 12}.get((text.get("class") or "").split()[0], 11)
    wide = len(text.text or "") * size * 0.5
    left = float(text.get("x", "0")) - {"start": 0.0, "middle": wide / 2, "end": wide}[text.get("text-anchor", "start")]
    return left, float(text.get("y", "0")) - size * 0.8, wide, size * 0.8

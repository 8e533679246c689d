"""The page that leads through the code names files and directories that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOME = Path(__file__).parents[2]
PAGE = (HOME / "docs" / "architecture.md").read_text("utf-8")
ROOMS = {path.name for path in [*HOME.iterdir(), *(HOME / "reconciler").iterdir()] if path.is_dir()}
# `graph/chains.py`, `engine/session`, `reconciler/pins.py`, `live/observe*`, `bpf/<service>/`
NAMES = sorted({name for name in re.findall(r"`([a-z_]+/[a-z_./<>*]*)`", PAGE) if name.partition("/")[0] in ROOMS})


@pytest.mark.parametrize("name", NAMES)
def test_what_the_page_names_is_there(name: str) -> None:
    pattern = re.sub(r"<[a-z]+>", "*", name.rstrip("/"))
    found = [path for home in (HOME, HOME / "reconciler") for suffix in ("", ".py") for path in home.glob(pattern + suffix)]
    assert found


def test_it_names_every_room_of_the_core() -> None:
    rooms = {path.name for path in (HOME / "reconciler").iterdir() if (path / "__init__.py").is_file()}
    assert {name for name in rooms if f"`reconciler/{name}/`" not in PAGE} == set()

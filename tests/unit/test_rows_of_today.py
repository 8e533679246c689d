"""Who derives rows from those that are there sees none of another layout: after an upgrade they would be read as something else."""
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from reconciler.service.cube_type import _as_of_today
from reconciler.service.model.codec import Env

ROWS = {"old": {bytes(20): bytes(96)}, "same": {bytes(4): bytes(8)}, "empty": {}, "gone": {bytes(2): bytes(2)}}
TABLES = {name: SimpleNamespace(key=SimpleNamespace(size=key), value=SimpleNamespace(size=value))
          for name, key, value in (("old", 24, 104), ("same", 4, 8), ("empty", 4, 8))}  # fmt: skip


def test_rows_of_other_sizes_are_left_out() -> None:
    env = Env(live=ROWS)
    assert set(_as_of_today(env, TABLES).live) == {"same", "empty", "gone"}


def test_where_all_are_as_today_it_is_the_very_same() -> None:
    env: Any = Env(live={"same": ROWS["same"]})
    assert _as_of_today(env, TABLES) is env

"""How the topologies of a test say that cubes which follow one another run: as one program, which is the default, or by hops.

`scripts/test --hops ...` has all of them go by hops, and a test marked `fused_and_unfused` is run once in each way.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

fused = True  # set by tests/conftest.py, for the run and for each test


def as_chosen(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The `spec` of a topology, with `fuse: false` where its cubes are to go by hops."""
    return dict(spec) if fused else {"fuse": False, **spec}

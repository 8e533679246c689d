"""The taps that running commands request: each is a seat in /run/pcn, held by a lock for as long as the command runs.

The kernel drops the lock when the command ends, however it does. So a tap never outlives its command: the next plan finds
that it is not requested any more.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from reconciler.errors import KernelError, NotTrusted
from reconciler.kernel import rundir
from reconciler.kernel.bpffs import Bpffs
from reconciler.model import Cube, Tap


def read(root: str) -> tuple[Tap, ...]:
    """Those that are requested at this root, in a stable order. Does not block."""
    try:
        said = rundir.holders(_prefix(root))
    except (KernelError, NotTrusted, OSError):
        return ()
    return tuple(_tap(text) for text in said if text)


def ask_for(root: str, tap: Tap) -> rundir.Seat:
    """Request a tap until the seat is released, or this process ends."""
    seat = rundir.take(f"{_prefix(root)}{tap.cube.name}")
    seat.write(json.dumps(asdict(tap)))
    return seat


def is_asked_for(root: str, name: str) -> bool:
    return rundir.holder(f"{_prefix(root)}{name}") is not None


def _tap(text: str) -> Tap:
    said = json.loads(text)
    cube = said["cube"]
    made = Cube(cube["name"], cube["service"], cube["topology"], cube["type"], cube["loglevel"], (), cube["config"], cube["fuse"])
    return Tap(made, said["place"], said["outside"])


def _prefix(root: str) -> str:
    return f"tap-{Bpffs(root).identity}-"

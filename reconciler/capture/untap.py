"""The process that removes taps once the command that requested them has ended: see `tap`."""

from __future__ import annotations

import os
import sys
import time

from reconciler.engine.apply import Options, apply
from reconciler.errors import LockBusy
from reconciler.live import taps
from reconciler.pins import cube
from reconciler.service.registry import Services

_PATIENCE = 120.0  # seconds to wait for other writers
_PAUSE = 0.02


def main() -> int:
    """Wait until standard input is closed and the taps are no longer requested; then heal."""
    root, said, *directories = sys.argv[1:]
    names = said.split(",")
    while os.read(0, 1):
        pass
    while any(taps.is_asked_for(root, name) for name in names):
        time.sleep(_PAUSE)
    if not any(os.path.exists(f"{root}/{cube(name)}") for name in names):
        return 0  # they were never inserted, or are removed already
    options, deadline = Options(root=root, services=Services(directories), lock_timeout=_PATIENCE), time.monotonic() + _PATIENCE
    while True:
        try:
            apply([], options)
        except LockBusy:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return 0


if __name__ == "__main__":
    sys.exit(main())

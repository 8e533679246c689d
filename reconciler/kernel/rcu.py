"""Wait for an RCU grace period (membarrier): then every packet that was in a program at its start has left it."""
from __future__ import annotations

import ctypes
import os
import time

_MEMBARRIER = {"x86_64": 324, "aarch64": 283, "riscv64": 283, "s390x": 356, "ppc64le": 365}
_GLOBAL = 1  # MEMBARRIER_CMD_GLOBAL: returns after an RCU grace period, which no running BPF program outlasts
_UNKNOWN_GRACE = 0.1  # seconds, if membarrier is not available (nohz_full)


def wait_for_grace_period() -> None:
    number = _MEMBARRIER.get(os.uname().machine)
    if number is None or ctypes.CDLL(None).syscall(number, _GLOBAL, 0, 0) != 0:
        time.sleep(_UNKNOWN_GRACE)

"""Singleton of a root: its lock and its sockets in /run/pcn, named for the bpffs root."""
from __future__ import annotations

import json
import os
from typing import Any

from reconciler.errors import LockBusy
from reconciler.kernel import rundir


def socket_path(root: str, what: str = "") -> str:
    """`what`: '' for the status, 'log' for the log of slow paths, 'documents' for submitted topologies."""
    return str(rundir.directory() / socket_name(root, what))


def socket_name(root: str, what: str) -> str:
    return f"{_name(root)}{what and '.' + what}.sock"


def _name(root: str) -> str:
    """As systemd escapes paths: /sys/fs/bpf/pcn is sys-fs-bpf-pcn."""
    return os.path.abspath(root).strip("/").replace("-", "\\x2d").replace("/", "-")


class Singleton:
    """Lock held by the one agent of a root; released by the kernel when the process dies."""

    def __init__(self, root: str) -> None:
        """Raises LockBusy if there is an agent already."""
        try:
            self._seat = rundir.take(f"{_name(root)}.lock", str(os.getpid()))
        except rundir.Taken as taken:
            raise LockBusy(f"an agent looks after {root} already: process {taken}") from None

    def release(self) -> None:
        self._seat.release()


def ask(root: str, timeout: float = 5.0, *, what: str = "") -> dict[str, Any] | None:
    """The status of the agent of a root; None if none answers."""
    try:
        with rundir.connect(socket_name(root, what), timeout) as sock:
            parts = []
            while part := sock.recv(1 << 16):
                parts.append(part)
            found = json.loads(b"".join(parts))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def is_there(root: str) -> bool:
    """Whether a root has an agent, even one that does not answer."""
    return rundir.holder(f"{_name(root)}.lock") is not None

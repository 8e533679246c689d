"""Where an agent can be found: its lock and its status socket in /run/pcn, named for the bpffs root that it looks after."""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from pathlib import Path
from typing import Any

from reconciler.errors import LockBusy

RUN = Path("/run/pcn")


def socket_path(root: str) -> str:
    return str(RUN / f"{_name(root)}.sock")


def _name(root: str) -> str:
    """As systemd escapes paths: /sys/fs/bpf/pcn is sys-fs-bpf-pcn."""
    return os.path.abspath(root).strip("/").replace("-", "\\x2d").replace("/", "-")


class OneAgent:
    """Holds the place of the one agent of a root; the kernel gives it back when the holder dies."""

    def __init__(self, root: str) -> None:
        """Raises LockBusy if there is an agent already."""
        RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._path = RUN / f"{_name(root)}.lock"
        while True:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(self._fd, 20, 0).decode(errors="replace").strip() or "unknown"
                os.close(self._fd)
                raise LockBusy(f"an agent looks after {root} already: process {holder}") from None
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._path).st_ino == os.fstat(self._fd).st_ino:
                    break
            os.close(self._fd)  # the last agent removed the file as it left
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        os.close(self._fd)


def ask(root: str, timeout: float = 5.0) -> dict[str, Any] | None:
    """What the agent of a root says of itself; None if there is none that answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(timeout)
        try:
            sock.connect(socket_path(root))
            parts = []
            while part := sock.recv(1 << 16):
                parts.append(part)
            found = json.loads(b"".join(parts))
        except (OSError, ValueError):
            return None
    return found if isinstance(found, dict) else None


def is_there(root: str) -> bool:
    """Whether a root has an agent, also one that is too busy to answer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as sock:
        sock.settimeout(1.0)
        return sock.connect_ex(socket_path(root)) == 0

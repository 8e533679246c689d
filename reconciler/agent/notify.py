"""systemd notifications: readiness, status, watchdog. No-ops without systemd."""
from __future__ import annotations

import os
import socket
import time

_PATIENCE = 30  # seconds


class Notifier:
    """Sends sd_notify(3) messages to $NOTIFY_SOCKET."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._said = ""
        self._extended = float("-inf")

    @property
    def listened_to(self) -> bool:
        return bool(self._address)

    @property
    def period(self) -> float:
        """Seconds between watchdog keep-alives: a third of systemd's timeout, 0 without one."""
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        allowed = os.environ.get("WATCHDOG_USEC", "")
        return int(allowed) / 3e6 if ours and allowed.isdigit() else 0.0

    def ready(self) -> None:
        self._send("READY=1")

    def not_yet(self) -> None:
        """Extend the start timeout: waiting for another process shall not count as a failed start."""
        if time.monotonic() > self._extended + _PATIENCE / 3:
            self._extended = time.monotonic()
            self._send(f"EXTEND_TIMEOUT_USEC={_PATIENCE * 1_000_000}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """A line for `systemctl status`; sent only when it changes."""
        if text != self._said:
            self._said = text
            self._send(f"STATUS={text}")

    def _send(self, words: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.connect(address)
                sock.send(words.encode(errors="backslashreplace"))
        except OSError:  # no receiver: not our problem
            return

"""Words to systemd: readiness, what is being done, and a sign of life. Without systemd they go nowhere."""
from __future__ import annotations

import os
import socket
import time

_PATIENCE = 30  # seconds


class Notifier:
    """Speaks sd_notify(3) to the socket in $NOTIFY_SOCKET."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._said = ""
        self._extended = float("-inf")

    @property
    def listened_to(self) -> bool:
        return bool(self._address)

    @property
    def period(self) -> float:
        """Seconds between signs of life: a third of what systemd allows, 0 if it does not request any."""
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        allowed = os.environ.get("WATCHDOG_USEC", "")
        return int(allowed) / 3e6 if ours and allowed.isdigit() else 0.0

    def ready(self) -> None:
        self._send("READY=1")

    def not_yet(self) -> None:
        """The start continues: it is waiting for somebody, which shall not count as a failure to start."""
        if time.monotonic() > self._extended + _PATIENCE / 3:
            self._extended = time.monotonic()
            self._send(f"EXTEND_TIMEOUT_USEC={_PATIENCE * 1_000_000}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent only when it changes."""
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
        except OSError:  # whoever should listen is gone; not our trouble
            return

"""Servers that live, die and hang: TCP that says what it is told to whoever connects, in a network namespace."""
from __future__ import annotations

import socket
import threading

from reconciler.kernel import netns

_IP_FREEBIND = 15


class Server:
    """`says`: its answer to the first bytes of whoever connects, b"" for none; None: it takes connections, and neither reads nor
    writes."""

    def __init__(self, space: str | None, address: str, port: int, says: bytes | None = b"") -> None:
        self.says, self.heard, self._ended = says, b"", False
        with netns.inside(space):
            self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)  # an IPv6 address that is new is not to be waited for
        self._socket.bind((address, port))
        self._socket.listen(64)
        self._socket.settimeout(0.05)
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended:
            try:
                peer, _ = self._socket.accept()
            except TimeoutError:
                continue
            self._held = [*self._held[-8:], peer]
            if self.says:
                peer.settimeout(1)
                try:
                    self.heard = peer.recv(2048)
                    peer.sendall(self.says)
                except OSError:
                    pass
                peer.close()

    def close(self) -> None:
        """Whoever connects from now on is refused."""
        self._ended = True
        self._thread.join()
        self._socket.close()
        for peer in self._held:
            peer.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._ended:
            self.close()

"""Flows that stay open, and whether more of them passes.

    with open_flow("h1", "h2", "10.0.0.2", 7000, socket.SOCK_STREAM) as (client, server):
        assert passes(server, client)
"""
from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

from reconciler.kernel import netns


@contextlib.contextmanager
def open_flow(client_space: str | None, server_space: str | None, address: str, port: int, kind: socket.SocketKind, *,
              source: str = "") -> Iterator[tuple[socket.socket, socket.socket]]:  # fmt: skip
    """Both ends, in network namespaces, of a connection of TCP, or of sockets of UDP of which each has heard of the other."""
    inet = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.ExitStack() as stack:
        with netns.inside(server_space):
            server = stack.enter_context(socket.socket(inet, kind))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address, port))
        with netns.inside(client_space):
            client = stack.enter_context(socket.socket(inet, kind))
        client.settimeout(3)
        if source:
            client.bind((source, 0))
        if kind == socket.SOCK_STREAM:
            server.listen()
            client.connect((address, port))
            server = stack.enter_context(server.accept()[0])
        else:
            client.connect((address, port))
            client.send(b"first")
            server.settimeout(3)
            server.connect(server.recvfrom(100)[1])
        for sock in (client, server):
            sock.setblocking(False)
        assert passes(client, server)
        assert passes(server, client)
        yield client, server


def passes(sender: socket.socket, receiver: socket.socket, seconds: float = 3.0) -> bool:
    """Whether something new arrives; what came before is read away."""
    with contextlib.suppress(BlockingIOError):
        while receiver.recv(65536):
            pass
    sender.send(b"more")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            return bool(receiver.recv(100))
        time.sleep(0.005)
    return False

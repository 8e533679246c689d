"""Listening sockets of the API: loopback addresses, unix sockets, and, with TLS and client certificates, any other address."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.agent.server import unix_listener
from reconciler.errors import UsageError

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Tls:
    """Paths: the server's certificate and key, and the CA of client certificates."""

    cert: str
    key: str
    ca: str


def listeners(places: Sequence[str], tls: Tls | None) -> list[socket.socket]:
    """Listening sockets for 'localhost:9000' (IPv4 and IPv6), '127.0.0.1:9000', '[::1]:9000', 'unix:/a/path'. Raises
    UsageError."""
    found: list[socket.socket] = []
    try:
        for place in places:
            if place.startswith("unix:"):
                found.append(_unix(place.removeprefix("unix:")))
            else:
                found += _tcp(place, tls)
    except BaseException:
        for sock in found:
            sock.close()
        raise
    return found


def _unix(path: str) -> socket.socket:
    sock = unix_listener(path)
    os.chmod(path, 0o666)  # noqa: S103 - authorisation is by the peer's credentials
    return sock


def _tcp(place: str, tls: Tls | None) -> list[socket.socket]:
    host, _, port = place.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise UsageError(f"--listen takes ADDRESS:PORT or unix:PATH, not {place!r}")
    addresses = ["127.0.0.1", "::1"] if host == "localhost" else [host]
    try:
        known = [ipaddress.ip_address(address) for address in addresses]
    except ValueError:
        raise UsageError(f"--listen takes an address, not the name {host!r}") from None
    if tls is None and not all(address.is_loopback for address in known):
        raise UsageError(f"{host} can be reached from other hosts: that takes --cert, --key and --ca")
    found: list[socket.socket] = []
    for address in known:
        try:
            found.append(_bound(str(address), int(port), address.version == 6))
        except OSError as error:
            if host == "localhost" and found:  # a host without IPv6
                continue
            for sock in found:
                sock.close()
            raise UsageError(f"cannot listen at {place}: {error.strerror}") from None
    return found


def _bound(address: str, port: int, six: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock

"""Creates netdevs. The attributes of each kind nest differently, and pyroute2 supports them; it takes 0.13 s to import and
0.9 ms (and four descriptors) per socket, so a socket is opened for the first link and then reused.

A netdev is created in its namespace, with its name, group, MTU and MAC: a kill leaves it either absent or marked as ours.
"""
from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reconciler.errors import kernel_error
from reconciler.kernel import linkspec
from reconciler.kernel import netns as namespaces
from reconciler.model import Link, LinkEnd

_LOWER_KINDS = ("vlan", "macvlan", "vxlan")  # with a lower device, or sending in the namespace of their creation


class LinkMaker:
    """Creates netdevs from the namespace that it was opened in. For one thread only, without a running event loop: pyroute2 would
    open another socket, in that other thread's namespace."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._iproute: Any = None

    def close(self) -> None:
        if self._iproute is not None:
            self._iproute.close()
            self._iproute = None

    def make(self, link: Link, group: int) -> None:
        """Create the netdev, a veth with its peer; down. Raises KernelError, FeatureMissing."""
        attempt = f"create the {link.kind} netdev '{link.end.name}'" + _place(link.end)
        creator, lower = _creation_place(link)
        with translated(attempt, link.kind), self._socket(creator) as iproute, _targets(link, creator) as targets:
            arguments = linkspec.creation(link.end, link.kind, link.options, lower) | targets[0]
            if group:
                arguments["group"] = group
            if link.peer is not None:
                peer = {"ifname": link.peer.name, **linkspec.tuning(link.peer), **targets[1]}
                arguments["peer"] = peer | ({"group": group} if group else {})
            iproute.link("add", **arguments)

    @contextmanager
    def _socket(self, netns: str | None) -> Iterator[Any]:
        """An IPRoute of a namespace: that of our own is reused, others (vlans and vxlans inside hosts) are rare."""
        if threading.get_ident() != self._thread:
            raise RuntimeError("a LinkMaker belongs to the thread that opened it")
        from pyroute2 import IPRoute  # 0.13 s

        if netns is None:
            self._iproute = self._iproute or IPRoute(ext_ack=True, groups=0)
            yield self._iproute
            return
        with namespaces.inside(netns):
            iproute = IPRoute(ext_ack=True, groups=0)
        with iproute:
            yield iproute


def _creation_place(link: Link) -> tuple[str | None, int]:
    """The namespace in which to request the netdev, and the index of its lower device there (0: none).

    A lower device is looked up in the netdev's namespace first, then in our own (a macvlan of a host's NIC for a container).
    Kinds without one are all created from our own namespace, through one socket. Raises KernelError.
    """
    if link.kind not in _LOWER_KINDS:
        return None, 0
    name = link.options.get("link")
    if name is None:
        return link.end.netns, 0
    for place in dict.fromkeys((link.end.netns, None)):
        with namespaces.inside(place):
            try:
                return place, socket.if_nametoindex(name)
            except OSError:
                continue
    raise kernel_error(f"create '{link.end.name}' on '{name}'", errno.ENODEV)


@contextmanager
def _targets(link: Link, creator: str | None) -> Iterator[list[dict[str, int]]]:
    """For the end and its peer: the argument for its namespace, if that is not the creator's."""
    opened: list[int] = []
    targets: list[dict[str, int]] = []
    try:
        for end in (link.end, link.peer):
            if end is None or end.netns is None or end.netns == creator:
                targets.append({})
                continue
            try:
                opened.append(os.open(namespaces.RUN_DIR / end.netns, os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError as failure:
                raise kernel_error(f"create the netdev '{end.name}'{_place(end)}", errno.ENOENT) from failure
            targets.append({"net_ns_fd": opened[-1]})
        yield targets
    finally:
        for fd in opened:
            os.close(fd)


@contextmanager
def translated(attempt: str, kind: str = "") -> Iterator[None]:
    """Convert errors of pyroute2 and the system to KernelError or FeatureMissing, with the kernel's message."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as failure:
        code, words = failure.code, str(failure.args[1])
        if kind and code == errno.EOPNOTSUPP and words in ("Unknown device type", os.strerror(code)):
            raise linkspec.kind_missing(kind) from failure
        raise kernel_error(attempt, code, words if words != os.strerror(code) else "") from failure
    except OSError as failure:
        raise kernel_error(attempt, failure.errno or 0) from failure


def _place(end: LinkEnd) -> str:
    return f" in the network namespace '{end.netns}'" if end.netns else ""

"""Settings of a node's own stack that pods need: forwarding, and routes to other nodes' pods."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from ipaddress import ip_network

from providers.kubernetes import overlay
from providers.kubernetes.document import HOST, OUT, UP
from providers.kubernetes.overlay import Tunnel
from providers.kubernetes.settings import OVERHEAD, Settings
from reconciler.kernel import nlmsg, rtnl

PROTOCOL = 112  # of this provider's routes: not assigned in rt_protos
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_MAIN, _UNICAST = 254, 1
_RTMSG = struct.Struct("=8BI")
_DST, _GATEWAY = 1, 5
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30
_NDMSG = struct.Struct("=BBHiHBB")  # family, padding, netdev, state, flags, type
_ND_DST, _ND_MAC, _BRIDGE = 1, 2, 7
_PERMANENT, _SELF = 0x80, 0x02
_OVERLAY = f"/proc/sys/net/ipv4/conf/{overlay.NETDEV}"  # there as long as the netdev is, in this network namespace


def keep(routes: Iterable[tuple[str, str]], tunnels: Sequence[Tunnel] = ()) -> None:
    """Enable forwarding, and set the host's routes of PROTOCOL to exactly these (prefix, next hop), and the overlay's entries to
    those of `tunnels`. Raises OSError."""
    if tunnels or os.path.isdir(_OVERLAY):
        _stations(tunnels)
    for name, value in _sysctls():
        with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
            file.write(value)
    wanted, failures = set(routes), []
    with nlmsg.open_socket() as sock:
        known = set(_known(sock))
        for route in known - wanted:
            nlmsg.request(sock, _DELROUTE, 0, _body(*route))
        for route in wanted - known:
            try:
                nlmsg.request(sock, _NEWROUTE, nlmsg.NLM_F_CREATE | 0x100, _body(*route))
            except OSError as error:
                failures.append(f"{route[0]} via {route[1]}: {error.strerror}")
    if failures:
        raise OSError(errno.EHOSTUNREACH, "; ".join(failures))


def mtu_for(settings: Settings) -> int:
    """Pods' MTU: the uplink's less the overlay's overhead if it follows an existing uplink, else as set. Raises KernelError."""
    uplink = rtnl.link(settings.uplink) if settings.mtu_follows else None
    return uplink.mtu - (OVERHEAD if settings.overlay else 0) if uplink is not None else settings.mtu


def ranges_in_use(gateways: Collection[str]) -> tuple[str, ...]:
    """The pod ranges in the host's routes via the gateway's addresses; routes to single addresses are those of services.
    Raises KernelError."""
    up = rtnl.link(UP)
    routes = rtnl.routes(index=up.index) if up is not None else ()
    return tuple(each.to for each in routes if each.via in gateways and ip_network(each.to).num_addresses > 1)


def _stations(tunnels: Sequence[Tunnel]) -> None:
    """Set the neighbours and the forwarding database of the overlay's netdev to exactly those of the tunnels."""
    index = socket.if_nametoindex(overlay.NETDEV)
    wanted = {message for each in tunnels for message in _of_tunnel(index, each)}
    with nlmsg.open_socket() as sock:
        families = (socket.AF_INET, socket.AF_INET6, _BRIDGE)
        known = {_key(bytes(body)) for family in families for body in _neighbours(sock, family, index)}
        for key in known - {_key(message) for message in wanted}:
            with suppress(FileNotFoundError):
                nlmsg.request(sock, _DELNEIGH, 0, key)
        for failure in nlmsg.requests(sock, [(_NEWNEIGH, nlmsg.NLM_F_CREATE | 0x100, message) for message in sorted(wanted)]):
            if failure is not None:
                raise failure


def _of_tunnel(index: int, tunnel: Tunnel) -> Iterator[bytes]:
    station = bytes.fromhex(tunnel.mac.replace(":", ""))
    family = socket.AF_INET6 if ":" in tunnel.hop else socket.AF_INET
    header = _NDMSG.pack(family, 0, 0, index, _PERMANENT, 0, 0)
    yield header + nlmsg.attribute(_ND_DST, socket.inet_pton(family, tunnel.hop)) + nlmsg.attribute(_ND_MAC, station)
    far = socket.AF_INET6 if ":" in tunnel.node else socket.AF_INET
    header = _NDMSG.pack(_BRIDGE, 0, 0, index, _PERMANENT, _SELF, 0)
    yield header + nlmsg.attribute(_ND_DST, socket.inet_pton(far, tunnel.node)) + nlmsg.attribute(_ND_MAC, station)


def _neighbours(sock: socket.socket, family: int, index: int) -> Iterator[memoryview]:
    """The permanent ones, without the netdev's own entries for the all-zero MAC address."""
    asked = _NDMSG.pack(family, 0, 0, index if family == _BRIDGE else 0, 0, 0, 0)
    for body in nlmsg.dump(sock, _GETNEIGH, asked):
        _, _, _, found, state, _, _ = _NDMSG.unpack_from(body)
        if found == index and state & _PERMANENT and any(nlmsg.attributes(body, _NDMSG.size).get(_ND_MAC, b"")):
            yield body


def _key(body: bytes) -> bytes:
    """The message that deletes an entry: header, address and MAC address."""
    family, _, _, index, _, flags, _ = _NDMSG.unpack_from(body)
    found = nlmsg.attributes(memoryview(body), _NDMSG.size)
    header = _NDMSG.pack(family, 0, 0, index, _PERMANENT, flags & _SELF, 0)
    return header + b"".join(nlmsg.attribute(each, bytes(found[each])) for each in (_ND_DST, _ND_MAC) if each in found)


def _sysctls() -> Iterator[tuple[str, str]]:
    """Forwarding, and loose reverse-path filters: packets from pods arrive by one of these netdevs, those to pods by another."""
    yield "ipv4/ip_forward", "1"
    yield "ipv6/conf/all/forwarding", "1"
    for name in (UP, OUT, HOST, *([overlay.NETDEV] if os.path.isdir(_OVERLAY) else [])):
        yield f"ipv4/conf/{name}/rp_filter", "2"


def _known(sock: socket.socket) -> Iterator[tuple[str, str]]:
    for family in (socket.AF_INET, socket.AF_INET6):
        for body in nlmsg.dump(sock, _GETROUTE, _RTMSG.pack(family, 0, 0, 0, _MAIN, PROTOCOL, 0, 0, 0)):
            _, length, _, _, _, protocol, _, kind, _ = _RTMSG.unpack_from(body)
            found = nlmsg.attributes(body, _RTMSG.size)
            if protocol == PROTOCOL and kind == _UNICAST and _DST in found and _GATEWAY in found:
                prefix, hop = (socket.inet_ntop(family, bytes(found[each])) for each in (_DST, _GATEWAY))
                yield f"{prefix}/{length}", hop


def _body(prefix: str, hop: str) -> bytes:
    network = ip_network(prefix)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    header = _RTMSG.pack(family, network.prefixlen, 0, 0, _MAIN, PROTOCOL, 0, _UNICAST, 0)
    gateway = nlmsg.attribute(_GATEWAY, socket.inet_pton(family, hop))
    return header + nlmsg.attribute(_DST, network.network_address.packed) + gateway

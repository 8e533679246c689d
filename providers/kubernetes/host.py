"""What a node's own stack has to be for pods: it forwards, and knows the way to other nodes' pods."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_network

from providers.kubernetes.document import HOST, OUT, UP
from reconciler.kernel import nlmsg

PROTOCOL = 112  # of routes that are this provider's: no other program's in rt_protos
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_MAIN, _UNICAST = 254, 1
_RTMSG = struct.Struct("=8BI")
_DST, _GATEWAY = 1, 5


def keep(routes: Iterable[tuple[str, str]]) -> None:
    """Have the host forward, and have exactly these routes (prefix, next hop) among those of PROTOCOL. Raises OSError."""
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


def _sysctls() -> Iterator[tuple[str, str]]:
    """What pods send comes by one of these netdevs, and what is for them leaves by another."""
    yield "ipv4/ip_forward", "1"
    yield "ipv6/conf/all/forwarding", "1"
    for name in (UP, OUT, HOST):
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

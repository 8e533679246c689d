"""Single changes of a netdev, its addresses and its routes, as one raw netlink request each.

All are idempotent: adding an existing address or route, or removing an absent one, is no error. Each opens its socket in the
namespace (40 us), so that a thousand hosts do not need a thousand open descriptors.
"""
from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from reconciler.errors import KernelError, kernel_error
from reconciler.kernel import linkspec, nlmsg, rtnl
from reconciler.kernel import netns as namespaces
from reconciler.model import Route

MAC, IFNAME, MTU, ALIAS, GROUP = 1, 3, 4, 20, 27  # IFLA_*
_SEGMENTS = 41, 58, 63, 64  # IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE, and the same of IPv4

_RTM_NEWADDR, _RTM_DELADDR, _RTM_NEWROUTE, _RTM_DELROUTE = 20, 21, 24, 25
_IFA_ADDRESS, _IFA_LOCAL, _IFA_F_NODAD = 1, 2, 0x02
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_TABLE_MAIN, _PROTOCOL_STATIC, _TYPE_UNICAST = 254, 4, 1
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_CREATE = nlmsg.NLM_F_CREATE | nlmsg.NLM_F_EXCL


def set_link(name: str, netns: str | None = None, *, up: bool | None = None, mtu: int | None = None, mac: str | None = None,
             alias: str | None = None, group: int | None = None, segments: int = 0) -> None:  # fmt: skip
    """Change the passed properties of a netdev, in one request. Raises KernelError."""
    body = segment_sizes(segments)
    if mac is not None:
        body += nlmsg.attribute(MAC, bytes.fromhex(mac.replace(":", "")))
    if alias is not None:
        body += nlmsg.attribute(ALIAS, alias.encode())
    for attribute, value in ((MTU, mtu), (GROUP, group)):
        if value is not None:
            body += nlmsg.u32(attribute, value)
    flags, mask = (rtnl.IFF_UP if up else 0), (0 if up is None else rtnl.IFF_UP)
    with requesting(f"change the netdev '{name}'", netns) as sock:
        nlmsg.request(sock, rtnl.RTM_SETLINK, 0, ifinfo(socket.if_nametoindex(name), flags, mask) + body)


def set_promiscuous(name: str, on: bool) -> None:
    """Switch promiscuous mode of a netdev. Raises KernelError."""
    with requesting(f"change the netdev '{name}'", None) as sock:
        flags = rtnl.IFF_PROMISC if on else 0
        nlmsg.request(sock, rtnl.RTM_SETLINK, 0, ifinfo(socket.if_nametoindex(name), flags, rtnl.IFF_PROMISC))


def delete_link(name: str, netns: str | None = None) -> bool:
    """Delete a netdev (a veth with its peer); False if there was none. About 20 ms each: use `delete_group` for many."""
    with requesting(f"delete the netdev '{name}'", netns) as sock:
        try:
            nlmsg.request(sock, rtnl.RTM_DELLINK, 0, ifinfo(0) + nlmsg.text(IFNAME, name))
        except OSError as failure:
            if failure.errno == errno.ENODEV:
                return False
            raise
    return True


def add_address(name: str, netns: str | None, address: str) -> None:
    """Add 'address/length' to a netdev, unless it is there. IPv6 addresses are usable at once (no DAD).

    If IPv6 is disabled on this netdev it is enabled, since the address needs it. Raises KernelError.
    """
    address = linkspec.canonical_address(address)
    with requesting(f"add the address {address} to '{name}'", netns) as sock:
        index = socket.if_nametoindex(name)
        body = _address_body(index, address)
        try:
            try:
                nlmsg.request(sock, _RTM_NEWADDR, _CREATE, body)
            except PermissionError:
                if ":" not in address or not _enable_ipv6(name):
                    raise
                nlmsg.request(sock, _RTM_NEWADDR, _CREATE, body)
        except FileExistsError:  # also where the same IPv6 address has another length
            if not any(state.address == address for state in rtnl.addresses(None, index)):
                raise


def remove_address(name: str, netns: str | None, address: str) -> None:
    """Remove an address, if it is there. Raises KernelError."""
    address = linkspec.canonical_address(address)
    with requesting(f"remove the address {address} from '{name}'", netns) as sock:
        try:
            nlmsg.request(sock, _RTM_DELADDR, 0, _address_body(socket.if_nametoindex(name), address))
        except OSError as failure:
            if failure.errno != errno.EADDRNOTAVAIL:
                raise


def add_route(name: str, netns: str | None, route: Route) -> None:
    """Add a route through a netdev to the main table, unless the same is there. Raises KernelError."""
    route = linkspec.canonical_route(route)
    with requesting(f"add the route {linkspec.words(route)} through '{name}'", netns) as sock:
        index = socket.if_nametoindex(name)
        try:
            nlmsg.request(sock, _RTM_NEWROUTE, _CREATE, _route_body(index, route))
        except FileExistsError:  # also where the same prefix has another gateway or netdev
            if not any((state.to, state.via) == (route.to, route.via) for state in rtnl.routes(None, index)):
                raise


def remove_route(name: str, netns: str | None, route: Route) -> None:
    """Remove a route, if it is there. Raises KernelError."""
    route = linkspec.canonical_route(route)
    with requesting(f"remove the route {linkspec.words(route)} through '{name}'", netns) as sock:
        try:
            nlmsg.request(sock, _RTM_DELROUTE, 0, _route_body(socket.if_nametoindex(name), route, removing=True))
        except ProcessLookupError:  # ESRCH: there is no such route
            return


@contextmanager
def requesting(attempt: str, netns: str | None) -> Iterator[socket.socket]:
    """A netlink socket of a namespace, with this thread in it; errors in the block become KernelErrors about `attempt`."""
    try:
        with namespaces.inside(netns), nlmsg.open_socket() as sock:
            yield sock
    except KernelError:
        raise
    except OSError as failure:
        code = failure.errno or 0
        words = str(failure.args[1]) if len(failure.args) > 1 else ""
        place = f" in the network namespace '{netns}'" if netns else ""
        raise kernel_error(attempt + place, code, words if words != os.strerror(code) else "") from failure


def segment_sizes(size: int) -> bytes:
    """Attributes for the maximum bytes of TCP segments on a netdev, sent (GSO) and received (GRO); 0: no attributes. More than
    65536 is BIG TCP; kernels before 6.3 ignore those of IPv4."""
    return b"".join(nlmsg.u32(each, size) for each in _SEGMENTS if size)


def ifinfo(index: int, flags: int = 0, mask: int = 0) -> bytes:
    """`struct ifinfomsg`: the netdev, and values (`flags`) of the flags in `mask`."""
    return struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, index, flags, mask)


def _address_body(index: int, address: str) -> bytes:
    ip, _, length = address.partition("/")
    family, flags = (socket.AF_INET6, _IFA_F_NODAD) if ":" in ip else (socket.AF_INET, 0)
    packed = socket.inet_pton(family, ip)
    header = struct.pack("=BBBBI", family, int(length), flags, _SCOPE_UNIVERSE, index)
    return header + nlmsg.attribute(_IFA_LOCAL, packed) + nlmsg.attribute(_IFA_ADDRESS, packed)


def _route_body(index: int, route: Route, *, removing: bool = False) -> bytes:
    to, _, length = route.to.partition("/")
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    scope = _SCOPE_LINK if route.via is None and family == socket.AF_INET else _SCOPE_UNIVERSE
    protocol, scope = (0, _SCOPE_NOWHERE) if removing else (_PROTOCOL_STATIC, scope)  # remove it whatever its protocol and scope
    body = struct.pack("=8BI", family, int(length), 0, 0, _TABLE_MAIN, protocol, scope, _TYPE_UNICAST, 0)
    if int(length):
        body += nlmsg.attribute(_RTA_DST, socket.inet_pton(family, to))
    if route.via is not None:
        body += nlmsg.attribute(_RTA_GATEWAY, socket.inet_pton(family, route.via))
    return body + nlmsg.u32(_RTA_OIF, index)


def _enable_ipv6(name: str) -> bool:
    """Enable IPv6 on a netdev of this thread's namespace; False if it was enabled, or does not exist."""
    switch = f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6"
    try:
        with open(switch, "r+", encoding="ascii") as file:
            if file.read().strip() == "0":
                return False
            file.seek(0)
            file.write("0")
    except FileNotFoundError:
        return False
    return True

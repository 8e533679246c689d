"""Fast reads of netdevs, addresses and routes, as plain values.

Read-only, so that plans do not import code that writes (that is in `reconciler.kernel.netlink`). Functions take the name of a
network namespace; None is this thread's.
"""
from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.errors import kernel_error
from reconciler.kernel import netns as namespaces
from reconciler.kernel import nlmsg
from reconciler.kernel.netstate import AddressState, EndState, NetdevCounters, NetdevState, RouteState, XdpState
from reconciler.kernel.nlmsg import as_int, as_text

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNSID = 16, 17, 18, 19, 22, 26, 90
IFF_UP, IFF_RUNNING, IFF_PROMISC, IFF_LOWER_UP = 0x1, 0x40, 0x100, 0x10000

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_GROUP, _IFLA_EXT_MASK, _IFLA_LINK_NETNSID, _IFLA_XDP = 18, 20, 27, 29, 37, 43
_IFLA_CARRIER_DOWN_COUNT, _IFLA_PROP_LIST, _IFLA_ALT_IFNAME = 48, 52, 53
_INFO_KIND, _INFO_DATA = 1, 2
_IFLA_TUN_TYPE, _IFF_TUN = 3, 1
_XDP_ATTACHED, _XDP_PROGRAM, _XDP_DRIVER_PROGRAM = 2, 4, 5
_XDP_MODES = {1: "drv", 2: "skb", 3: "hw", 4: "multi"}
_SKIP_STATISTICS = nlmsg.u32(_IFLA_EXT_MASK, 1 << 3)

_IFINFOMSG = struct.Struct("=BBHiII")  # family, pad, link type, index, flags, change
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_RTMSG = struct.Struct("=8BI")  # family, dst length, src length, tos, table, protocol, scope, type, flags

_MACVLAN_MODES = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}


def links(netns: str | None = None) -> dict[str, NetdevState]:
    """All netdevs of a namespace by name, in the order of their indices. Raises KernelError."""
    bodies = _dump(RTM_GETLINK, [_IFINFOMSG.pack(0, 0, 0, 0, 0, 0) + _SKIP_STATISTICS], netns, "netdevs")
    found = (_netdev(body, netns) for body in bodies)
    return {netdev.name: netdev for netdev in found}


def addresses(netns: str | None = None, index: int = 0) -> list[AddressState]:
    """All addresses of a namespace, or those of the netdev `index`. Raises KernelError."""
    bodies = _dump(RTM_GETADDR, [_IFADDRMSG.pack(0, 0, 0, 0, index)], netns, "addresses")
    found = (_address(body) for body in bodies)
    return [address for address in found if index in (0, address.index)]


def routes(netns: str | None = None, index: int = 0) -> list[RouteState]:
    """The unicast routes of the main table without the kernel's own; those through the netdev `index`, or all.

    Raises KernelError.
    """
    out_of = nlmsg.u32(_RTA_OIF, index) if index else b""
    asked = [_RTMSG.pack(family, 0, 0, 0, _MAIN_TABLE, 0, 0, 0, 0) + out_of for family in (socket.AF_INET, socket.AF_INET6)]
    found = (_route(body) for body in _dump(RTM_GETROUTE, asked, netns, "routes"))
    return list(dict.fromkeys(route for route in found if route and index in (0, route.index)))


def end(name: str, netns: str | None = None) -> EndState | None:
    """One netdev with its addresses and routes; None if there is no such netdev. Raises KernelError."""
    netdev = link(name, netns)
    if netdev is None:
        return None
    return EndState(netdev, tuple(addresses(netns, netdev.index)), tuple(routes(netns, netdev.index)))


def link(name: str, netns: str | None = None) -> NetdevState | None:
    """One netdev; None if there is none of that name. Raises KernelError.

    Unlike `links`, this makes the kernel process a carrier change at once. Otherwise that takes up to a second when many links
    change, and packets for a link that is up are dropped meanwhile.
    """
    with namespaces.inside(netns), nlmsg.open_socket() as sock:
        try:
            asked = _IFINFOMSG.pack(0, 0, 0, 0, 0, 0) + nlmsg.text(_IFLA_IFNAME, name) + _SKIP_STATISTICS
            return _netdev(nlmsg.query(sock, RTM_GETLINK, asked), netns)
        except OSError as failure:
            if failure.errno == errno.ENODEV:
                return None
            raise kernel_error(f"read the netdev '{name}'", failure.errno or 0) from failure


def ends(netns: str | None = None) -> dict[str, EndState]:
    """All netdevs of a namespace with their addresses and routes, by name. Raises KernelError."""
    by_index: dict[int, list[AddressState]] = {}
    for address in addresses(netns):
        by_index.setdefault(address.index, []).append(address)
    out_of: dict[int, list[RouteState]] = {}
    for route in routes(netns):
        out_of.setdefault(route.index, []).append(route)
    return {
        name: EndState(netdev, tuple(by_index.get(netdev.index, ())), tuple(out_of.get(netdev.index, ())))
        for name, netdev in links(netns).items()
    }


def namespace_ids(names: Iterable[str], within: str | None = None) -> dict[int, str]:
    """Names of these namespaces by the ids, in `within`, that `NetdevState.peer_netnsid` has."""
    found: dict[int, str] = {}
    with namespaces.inside(within), nlmsg.open_socket() as sock:
        for name in names:
            try:
                with open(namespaces.RUN_DIR / name, "rb") as file:
                    body = nlmsg.query(sock, RTM_GETNSID, bytes(4) + nlmsg.u32(3, file.fileno()))
            except OSError:  # deleted meanwhile, or no namespace
                continue
            number = struct.unpack("=i", nlmsg.attributes(body, 4)[1])[0]
            if number >= 0:  # -1: nothing in `within` refers to that namespace
                found[number] = name
    return found


def _dump(kind: int, asked: list[bytes], netns: str | None, what: str) -> list[memoryview]:
    found: list[memoryview] = []
    with namespaces.inside(netns), nlmsg.open_socket() as sock:
        for body in asked:
            try:
                found += nlmsg.dump(sock, kind, body)
            except FileNotFoundError:  # this address family has no main table yet
                continue
            except OSError as failure:
                place = f" of the network namespace '{netns}'" if netns else ""
                raise kernel_error(f"read the {what}{place}", failure.errno or 0) from failure
    return found


def _netdev(body: memoryview, netns: str | None) -> NetdevState:
    _, _, link_type, index, flags, _ = _IFINFOMSG.unpack_from(body)
    found = nlmsg.attributes(body, _IFINFOMSG.size)
    info = nlmsg.attributes(found[_IFLA_LINKINFO]) if _IFLA_LINKINFO in found else {}
    kind = as_text(info.get(_INFO_KIND))
    reader = _OPTION_READERS.get(kind)
    lower = as_int(found.get(_IFLA_LINK))
    options = reader(nlmsg.attributes(info[_INFO_DATA]), lower) if reader and _INFO_DATA in info else {}
    nsid = found.get(_IFLA_LINK_NETNSID)
    return NetdevState(
        name=as_text(found[_IFLA_IFNAME]), index=index, kind=kind,
        mac=bytes(found[_IFLA_ADDRESS]).hex(":") if _IFLA_ADDRESS in found else "",
        mtu=as_int(found.get(_IFLA_MTU)), up=bool(flags & IFF_UP), running=bool(flags & IFF_RUNNING),
        carrier=bool(flags & IFF_LOWER_UP), losses=as_int(found.get(_IFLA_CARRIER_DOWN_COUNT)),
        promiscuous=bool(flags & IFF_PROMISC),
        group=as_int(found.get(_IFLA_GROUP)), alias=as_text(found.get(_IFLA_IFALIAS)),
        peer_index=lower, peer_netnsid=None if nsid is None else as_int(nsid),
        master=as_int(found.get(_IFLA_MASTER)), netns=netns,
        xdp=_xdp(nlmsg.attributes(found[_IFLA_XDP])) if _IFLA_XDP in found else None, options=options,
        link_type=link_type,
        other_names=_other_names(found.get(_IFLA_PROP_LIST)),
    )  # fmt: skip


def _other_names(properties: memoryview | None) -> tuple[str, ...]:
    every = nlmsg.every_attribute(properties) if properties is not None else ()
    return tuple(as_text(payload) for kind, payload in every if kind == _IFLA_ALT_IFNAME)


def links_of_kind(kind: str) -> list[NetdevState]:
    """The netdevs of this namespace, filtered by kind in the kernel: all of them, if the kind is not registered."""
    info = nlmsg.attribute(_IFLA_LINKINFO | nlmsg.NESTED, nlmsg.text(_INFO_KIND, kind))
    bodies = _dump(RTM_GETLINK, [_IFINFOMSG.pack(0, 0, 0, 0, 0, 0) + info + _SKIP_STATISTICS], None, f"netdevs of kind {kind}")
    return [_netdev(body, None) for body in bodies]


def _xdp(found: Mapping[int, memoryview]) -> XdpState | None:
    mode = as_int(found.get(_XDP_ATTACHED))
    if mode == 0:
        return None
    return XdpState(as_int(found.get(_XDP_PROGRAM)) or as_int(found.get(_XDP_DRIVER_PROGRAM)), _XDP_MODES.get(mode, str(mode)))


def _vxlan_options(data: Mapping[int, memoryview], _lower: int) -> dict[str, Any]:
    options: dict[str, Any] = {"id": as_int(data.get(1)), "dstport": int.from_bytes(data.get(15, b""), "big")}
    for name, four, six in (("remote", 2, 16), ("local", 4, 17)):
        payload = data.get(four) or data.get(six)
        if payload is not None and any(payload):
            options[name] = _ip(bytes(payload))
    if as_int(data.get(3)):
        options["link"] = as_int(data.get(3))
    return options


def _vlan_options(data: Mapping[int, memoryview], lower: int) -> dict[str, Any]:
    return {"id": as_int(data.get(1)), "link": lower}


def _macvlan_options(data: Mapping[int, memoryview], lower: int) -> dict[str, Any]:
    mode = as_int(data.get(1))
    return {"mode": _MACVLAN_MODES.get(mode, str(mode)), "link": lower}


def _tun_options(data: Mapping[int, memoryview], _lower: int) -> dict[str, Any]:
    return {"mode": "tun" if as_int(data.get(_IFLA_TUN_TYPE)) == _IFF_TUN else "tap"}


_OPTION_READERS = {"vxlan": _vxlan_options, "vlan": _vlan_options, "macvlan": _macvlan_options, "tun": _tun_options}


def _ip(payload: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(payload) == 4 else socket.AF_INET6, payload)


_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_PERMANENT, _IFA_F_TEMPORARY = 0x80, 0x01
_SCOPE_LINK, _SCOPE_HOST = 253, 254


def _address(body: memoryview) -> AddressState:
    family, length, flags, scope, index = _IFADDRMSG.unpack_from(body)
    found = nlmsg.attributes(body, _IFADDRMSG.size)
    flags = as_int(found.get(_IFA_FLAGS), flags)
    own = found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]  # they differ on point-to-point links
    six = family == socket.AF_INET6
    made_by_kernel = scope == _SCOPE_HOST or (six and (scope == _SCOPE_LINK or bool(flags & _IFA_F_TEMPORARY)))
    automatic = made_by_kernel or not flags & _IFA_F_PERMANENT
    return AddressState(index, f"{_ip(bytes(own))}/{length}", automatic)


_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE, _RTA_VIA = 1, 4, 5, 6, 15, 18
_MAIN_TABLE, _RTPROT_KERNEL, _RTN_UNICAST, _RTM_F_CLONED = 254, 2, 1, 0x200
_BY_HAND = (3, 4)  # RTPROT_BOOT: `ip route add`; RTPROT_STATIC: an administrator, and pcn


def _route(body: memoryview) -> RouteState | None:
    family, length, _, _, table, protocol, _, kind, flags = _RTMSG.unpack_from(body)
    if protocol == _RTPROT_KERNEL or kind != _RTN_UNICAST or flags & _RTM_F_CLONED:
        return None
    found = nlmsg.attributes(body, _RTMSG.size)
    if as_int(found.get(_RTA_TABLE), table) != _MAIN_TABLE:
        return None
    width = 4 if family == socket.AF_INET else 16
    gateway = found.get(_RTA_GATEWAY) or (found[_RTA_VIA][2:] if _RTA_VIA in found else None)
    return RouteState(
        as_int(found.get(_RTA_OIF)), f"{_ip(bytes(found.get(_RTA_DST, bytes(width))))}/{length}",
        _ip(bytes(gateway)) if gateway else None, as_int(found.get(_RTA_PRIORITY)), protocol not in _BY_HAND,
    )  # fmt: skip


_IFLA_STATS64 = 23
_COUNTERS = struct.Struct("=8Q")  # the head of struct rtnl_link_stats64


def counters(netns: str | None = None) -> dict[str, NetdevCounters]:
    """Counters of all netdevs of a namespace, by name. Raises KernelError."""
    found = {}
    for body in _dump(RTM_GETLINK, [_IFINFOMSG.pack(0, 0, 0, 0, 0, 0)], netns, "netdevs' counters"):
        read = nlmsg.attributes(body, _IFINFOMSG.size)
        if _IFLA_STATS64 in read:
            found[as_text(read[_IFLA_IFNAME])] = NetdevCounters(*_COUNTERS.unpack_from(read[_IFLA_STATS64]))
    return found

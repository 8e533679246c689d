"""The netdevs of pods: created, read and deleted. The owner is in the alias: "<container> <ifname> <namespace>/<pod>".

A slot is allocated by creating the netdev of its name, which the kernel refuses if it exists; deletion of the pod's network
namespace frees it, and after a boot all are free.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from providers.kubernetes.settings import slot_of
from reconciler.errors import KernelError
from reconciler.kernel import linkwrite, netns, nlmsg, rtnl

_RTM_NEWADDR, _RTM_NEWROUTE, _RTM_NEWNEIGH = 20, 24, 28
_LINKINFO, _INFO_KIND, _INFO_DATA, _PEER, _NET_NS_FD = 18, 1, 2, 1, 28
_CREATE, _REPLACE = nlmsg.NLM_F_CREATE | nlmsg.NLM_F_EXCL, nlmsg.NLM_F_CREATE | 0x100
_NODAD, _PERMANENT = 0x02, 0x80
_MAIN, _STATIC, _LINK, _UNICAST = 254, 4, 253, 1
_LONGEST = 250  # bytes of an alias
BIG_TCP = 192 << 10  # bytes of a segment: the usual recommendation; the kernel's limit is 512 KiB


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a netdev. `pod` is namespace/name, or namespace/#digest where the name is too long for an alias."""

    container: str
    ifname: str
    pod: str

    def alias(self) -> str:
        return f"{self.container} {self.ifname} {self.pod}"


def pod_word(namespace: str, name: str, container: str = "", ifname: str = "") -> str:
    """`Owner.pod` for an alias with this container and interface."""
    said = f"{namespace}/{name}"
    if len(f"{container} {ifname} {said}".encode()) <= _LONGEST:
        return said
    return f"{namespace}/#{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def owned() -> dict[int, Owner | None]:
    """The allocated slots; without an owner if its creator was killed before it wrote the alias. Raises KernelError."""
    found = {}
    for name, netdev in rtnl.links().items():
        slot = slot_of(name)
        if slot is not None:
            words = netdev.alias.split(" ", 2)
            found[slot] = Owner(*words) if len(words) == 3 else None
    return found


def make(name: str, target: str, owner: Owner, station: str, mtu: int, *, big_tcp: bool = False) -> bool:
    """Create a veth with its far end in the namespace `target`; False if the name is taken. `station`: the far end's MAC address;
    `big_tcp`: TCP segments may have 192 KiB. Raises KernelError, OSError."""
    both = nlmsg.u32(linkwrite.MTU, mtu) + linkwrite.segment_sizes(BIG_TCP if big_tcp else 0)
    with open(target, "rb") as file, linkwrite.requesting(f"make the netdev '{name}'", None) as sock:
        far = linkwrite.ifinfo(0) + nlmsg.text(linkwrite.IFNAME, owner.ifname) + both
        far += nlmsg.attribute(linkwrite.MAC, bytes.fromhex(station.replace(":", ""))) + nlmsg.u32(_NET_NS_FD, file.fileno())
        data = nlmsg.attribute(_INFO_DATA | nlmsg.NESTED, nlmsg.attribute(_PEER | nlmsg.NESTED, far))
        info = nlmsg.attribute(_LINKINFO | nlmsg.NESTED, nlmsg.text(_INFO_KIND, "veth") + data)
        body = linkwrite.ifinfo(0) + nlmsg.text(linkwrite.IFNAME, name) + both + info
        try:
            nlmsg.request(sock, rtnl.RTM_NEWLINK, _CREATE, body)
        except FileExistsError as error:
            with netns.inside(target):
                if any(found == owner.ifname for _, found in socket.if_nameindex()):
                    raise KernelError(f"the pod has a netdev {owner.ifname} already", errno.EEXIST) from error
            return False
    _is_no_hosts(name)
    linkwrite.set_link(name, alias=owner.alias(), up=True)
    return True


def _is_no_hosts(name: str) -> None:
    """Exclude the host's stack from a pod's packets: it forwards none that the hook did not take, and gives the near end no
    IPv6 address, which would be an event for every listener to the host's addresses."""
    for setting, value in (("ipv4/conf/{}/forwarding", "0"), ("ipv6/conf/{}/disable_ipv6", "1")):
        with suppress(OSError), open(f"/proc/sys/net/{setting.format(name)}", "w", encoding="ascii") as file:
            file.write(value)


def claim(target: str, ifname: str, owner: Owner) -> int | None:
    """The slot whose netdev is the peer of the pod's, if its creator was killed before it wrote the alias. Writes the alias."""
    far = rtnl.link(ifname, target)
    if far is None:
        return None
    for name, near in rtnl.links().items():
        slot = slot_of(name)
        if slot is not None and not near.alias and (near.index, far.index) == (far.peer_index, near.peer_index):
            linkwrite.set_link(name, alias=owner.alias(), up=True)
            return slot
    return None


def set_up(target: str, ifname: str, addresses: Sequence[tuple[str, str]] = (), station: str = "") -> None:
    """Set the far end up, with its addresses, each with its gateway as default route and permanent neighbour (`station`: its MAC
    address). Existing ones stay. Raises KernelError, OSError."""
    with netns.inside(target), nlmsg.open_socket() as sock:
        netns.raise_loopback()
        index = socket.if_nametoindex(ifname)
        if any(":" in address for address, _ in addresses):
            _allow_ipv6(ifname)
        messages = [(rtnl.RTM_NEWLINK, 0, linkwrite.ifinfo(index, rtnl.IFF_UP, rtnl.IFF_UP))]
        for address, gateway in addresses:
            messages += _of_one(index, address.partition("/")[0], gateway, station)
        for failure in nlmsg.requests(sock, messages):
            if failure is not None and failure.errno != errno.EEXIST:
                raise failure


def _of_one(index: int, address: str, gateway: str, station: str) -> Iterator[tuple[int, int, bytes]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    mine, theirs = socket.inet_pton(family, address), socket.inet_pton(family, gateway)
    bits, out = len(mine) * 8, nlmsg.u32(4, index)
    header = struct.pack("=BBBBI", family, bits, _NODAD if family == socket.AF_INET6 else 0, 0, index)
    yield _RTM_NEWADDR, _CREATE, header + nlmsg.attribute(2, mine) + nlmsg.attribute(1, mine)
    neighbour = struct.pack("=BBHiHBB", family, 0, 0, index, _PERMANENT, 0, 0)
    lladdr = nlmsg.attribute(2, bytes.fromhex(station.replace(":", "")))
    yield _RTM_NEWNEIGH, _REPLACE, neighbour + nlmsg.attribute(1, theirs) + lladdr
    to_gateway = struct.pack("=8BI", family, bits, 0, 0, _MAIN, _STATIC, _LINK, _UNICAST, 0)
    yield _RTM_NEWROUTE, _CREATE, to_gateway + nlmsg.attribute(1, theirs) + out
    to_all = struct.pack("=8BI", family, 0, 0, 0, _MAIN, _STATIC, 0, _UNICAST, 0)
    yield _RTM_NEWROUTE, _CREATE, to_all + nlmsg.attribute(5, theirs) + out


def _allow_ipv6(ifname: str) -> None:
    """Enable IPv6, which some runtimes disable in a pod."""
    for name in ("all", ifname):
        try:
            with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "w", encoding="ascii") as file:
                file.write("0")
        except OSError:  # read-only, or no IPv6: adding the address fails
            return


def has(target: str, ifname: str, addresses: Sequence[str]) -> bool:
    """Whether the far end exists, is up, and has these addresses. Raises KernelError, OSError."""
    end = rtnl.end(ifname, target)
    if end is None or not end.netdev.up:
        return False
    return set(addresses) <= {each.address for each in end.addresses}


def is_there(target: str, ifname: str) -> bool:
    return rtnl.link(ifname, target) is not None


def remove(name: str) -> bool:
    """Delete a netdev; False if there was none. Raises KernelError."""
    return linkwrite.delete_link(name)


def is_namespace(path: str) -> bool:
    return os.path.exists(path)

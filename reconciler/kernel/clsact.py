"""Programs on a netdev's ingress and egress for kernels without TCX (before 6.6): filters on a clsact qdisc.

Unlike a bpf_link such a filter references its program by itself, outlives the process, and is identified by its name and
priority. Filters with one of two names are ours; all others are neither replaced nor removed. If we added the qdisc too, the
names of our filters record it, and it is removed with the last one.
"""
from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from typing import Any, Literal

from reconciler.errors import HookHeld, kernel_error
from reconciler.kernel import netns as namespaces
from reconciler.kernel import nlmsg
from reconciler.kernel.linkmake import translated

Direction = Literal["ingress", "egress"]

NAME = "pcn"
PRIORITY, HANDLE = 0x7063, 1  # an unlikely priority; filters with lower ones run first

_NAME_WITH_QDISC = NAME + "+clsact"
_PARENT: dict[Direction, int] = {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3}
_RTM_GETTFILTER, _RTM_GETQDISC = 46, 38
_TCA_KIND, _TCA_OPTIONS = 1, 2
_TCA_BPF_NAME, _TCA_BPF_FLAGS, _TCA_BPF_ID = 7, 8, 11
_DIRECT_ACTION = 1
_TCMSG = struct.Struct("=BxxxiIII")  # family, index, handle, parent, info (priority << 16 | protocol)
_ETH_P_ALL = 3


@dataclass(frozen=True, slots=True)
class Filter:
    """One filter on a clsact hook. `program`: id of its BPF program, 0 for other filters."""

    priority: int
    handle: int
    kind: str
    name: str
    program: int
    direct_action: bool

    @property
    def ours(self) -> bool:
        return self.name in (NAME, _NAME_WITH_QDISC)


def query(ifindex: int, direction: Direction, netns: str | None = None) -> list[Filter]:
    """The filters of a hook in the order in which they run; empty without a clsact qdisc. Raises KernelError."""
    if not _has_clsact(ifindex, netns):
        return []
    request = _TCMSG.pack(0, ifindex, 0, _PARENT[direction], 0)
    bodies = _dump(_RTM_GETTFILTER, request, netns, f"read the {direction} filters of netdev {ifindex}")
    return sorted((entry for entry in map(_filter, bodies) if entry), key=lambda entry: entry.priority)


def attach(ifindex: int, direction: Direction, program_fd: int, netns: str | None = None, *, priority: int = PRIORITY) -> None:
    """Attach a direct-action program, or atomically replace our present one.

    Raises HookHeld if another owner has a filter of this priority, KernelError.
    """
    present = query(ifindex, direction, netns)
    holder = next((entry for entry in present if entry.priority == priority and not entry.ours), None)
    if holder:
        whose = holder.name or holder.kind
        raise HookHeld(f"{direction} of netdev {ifindex}: priority {priority} is held by the filter '{whose}'")
    with translated(f"attach a program to {direction} of netdev {ifindex}"), _iproute(netns) as iproute:
        made = not _has_clsact(ifindex, netns)
        if made:
            iproute.tc("add", "clsact", ifindex)
        inherited = any(entry.name == _NAME_WITH_QDISC for side in _PARENT for entry in query(ifindex, side, netns))
        try:
            iproute.tc(
                "replace-filter", "bpf", ifindex, handle=HANDLE, parent=_PARENT[direction], prio=priority, fd=program_fd,
                name=_NAME_WITH_QDISC if made or inherited else NAME, direct_action=True, protocol=_ETH_P_ALL,
            )  # fmt: skip
        except BaseException:
            if made:
                iproute.tc("del", "clsact", ifindex)
            raise


def detach(ifindex: int, direction: Direction, netns: str | None = None, *, priority: int = PRIORITY) -> bool:
    """Detach our program, and remove our qdisc with the last one; False if there was none. Raises KernelError."""
    mine = next((entry for entry in query(ifindex, direction, netns) if entry.priority == priority and entry.ours), None)
    if mine is None:
        return False
    with translated(f"detach the program from {direction} of netdev {ifindex}"), _iproute(netns) as iproute:
        iproute.tc(
            "del-filter", "bpf", ifindex, handle=mine.handle, parent=_PARENT[direction], prio=priority, protocol=_ETH_P_ALL,
        )  # fmt: skip
        others = [entry for side in _PARENT for entry in query(ifindex, side, netns)]
        if mine.name == _NAME_WITH_QDISC and not others:
            iproute.tc("del", "clsact", ifindex)
    return True


def _iproute(netns: str | None) -> Any:
    from pyroute2 import IPRoute  # 0.13 s

    with namespaces.inside(netns):
        return IPRoute(ext_ack=True, groups=0)


def _has_clsact(ifindex: int, netns: str | None) -> bool:
    bodies = _dump(_RTM_GETQDISC, _TCMSG.pack(0, ifindex, 0, 0, 0), netns, f"read the qdiscs of netdev {ifindex}")
    for body in bodies:
        _, index, _, _, _ = _TCMSG.unpack_from(body)
        if index == ifindex and nlmsg.as_text(nlmsg.attributes(body, _TCMSG.size).get(_TCA_KIND)) == "clsact":
            return True
    return False


def _filter(body: memoryview) -> Filter | None:
    _, _, handle, _, info = _TCMSG.unpack_from(body)
    found = nlmsg.attributes(body, _TCMSG.size)
    if handle == 0:  # the head of a priority's list, not a filter
        return None
    kind = nlmsg.as_text(found.get(_TCA_KIND))
    options = nlmsg.attributes(found[_TCA_OPTIONS]) if kind == "bpf" and _TCA_OPTIONS in found else {}
    return Filter(
        info >> 16, handle, kind, nlmsg.as_text(options.get(_TCA_BPF_NAME)), nlmsg.as_int(options.get(_TCA_BPF_ID)),
        bool(nlmsg.as_int(options.get(_TCA_BPF_FLAGS)) & _DIRECT_ACTION),
    )  # fmt: skip


def _dump(kind: int, request: bytes, netns: str | None, attempt: str) -> list[memoryview]:
    with namespaces.inside(netns), nlmsg.open_socket() as sock:
        try:
            return nlmsg.dump(sock, kind, request)
        except OSError as failure:
            if failure.errno == errno.ENODEV:
                return []
            raise kernel_error(attempt, failure.errno or 0) from failure

"""Attaches programs to netdevs: by bpf_link, or by a clsact filter if the kernel has no TCX (before 6.6).

A hook has a path below links/. A bpf_link is pinned there, and detached with its pin. A clsact filter cannot be pinned, so its
program is, which marks the filter as ours.
"""
from __future__ import annotations

import contextlib
import errno
import os
import re
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.errors import HookHeld, KernelError, kernel_error
from reconciler.incremental.memo import once
from reconciler.kernel import bpf, clsact, programs
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.netstate import NetdevState
from reconciler.pins import unescape

ATTACH = {"xdp": bpf.ATTACH_XDP, "tcx_ingress": bpf.ATTACH_TCX_INGRESS, "tcx_egress": bpf.ATTACH_TCX_EGRESS}
_MODES = {"": 0, "skb": bpf.XDP_FLAGS_SKB_MODE, "drv": bpf.XDP_FLAGS_DRV_MODE}
_CLSACT: dict[str, clsact.Direction] = {"tcx_ingress": "ingress", "tcx_egress": "egress"}
_LINKS = (bpf.LINK_TYPE_XDP, bpf.LINK_TYPE_TCX)
_TCX_POINTS = {bpf.ATTACH_TCX_INGRESS: "tcx_ingress", bpf.ATTACH_TCX_EGRESS: "tcx_egress"}
_OF_PCN = re.compile(r"\((?:stub|chain|apart)_\d+\)")
_DETACHED = 1.0  # seconds within which the kernel releases a link after its last pin is removed
_LOOPBACK = 1


@once
def has_tcx() -> bool:
    """Whether this kernel has TCX. PCN_NO_TCX=1 disables it, to test the fallback."""
    if os.environ.get("PCN_NO_TCX") == "1":
        return False
    try:
        bpf.hook_programs(_LOOPBACK, bpf.ATTACH_TCX_INGRESS)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def attach(root: Bpffs, path: str, program: int, ifindex: int, point: str, mode: str = "") -> None:
    """Attach and pin. A pin of a link that is not attached here is replaced. Raises KernelError, HookHeld (errno EBUSY).

    A link of ours at this netdev is updated: an unpinned one is released with a delay, and would block a new one.
    """
    if (place := _attached_to(root, path)) == ifindex:
        update(root, path, program, ifindex, point)
        return
    if place:
        raise KernelError(f"attach to {_name(ifindex)}'s {point} hook", errno.EEXIST, f"{path} is the pin of {_name(place)}'s")
    root.remove(path)
    root.make_directory(path.rpartition("/")[0])
    if point != "xdp" and not has_tcx():
        clsact.attach(ifindex, _CLSACT[point], program)
        root.pin(program, path)
        return
    try:
        link = bpf.link_create(program, ifindex, ATTACH[point], _MODES[mode])
    except OSError as error:
        raise _attach_error(error, ifindex, point, mode) from None
    try:
        root.pin(link, path)
    finally:
        os.close(link)


def update(root: Bpffs, path: str, program: int, ifindex: int, point: str) -> None:
    """Replace the program of a hook of ours; no packet passes without one."""
    with root.opened(path) as pinned:
        if bpf.link_info(pinned).kind in _LINKS:
            bpf.link_update(pinned, program, None)
            return
    clsact.attach(ifindex, _CLSACT[point], program)
    root.remove(path)
    root.pin(program, path)


def detach(root: Bpffs, path: str, ifindex: int, point: str) -> None:
    """Detach and unpin; absence is no error. `ifindex` 0: the netdev no longer exists."""
    if root.exists(path):
        with contextlib.suppress(OSError, KernelError), root.opened(path) as pinned:
            if bpf.link_info(pinned).kind in _LINKS:
                bpf.bpf(bpf.LINK_DETACH, struct.pack("<I", pinned))
            elif ifindex:
                clsact.detach(ifindex, _CLSACT[point])
        root.remove(path)
    root.remove_directory(path.rpartition("/")[0])


def move(root: Bpffs, path: str, to: str) -> None:
    """Rename the pin of a hook, without effect on packets. A pin at `to` of a link that is not attached here is replaced."""
    if root.exists(to) and _attached_to(root, to):
        raise KernelError(f"rename {path} to {to}", errno.EEXIST)
    root.make_directory(to.rpartition("/")[0])
    root.rename(path, to)
    root.remove_directory(path.rpartition("/")[0])


@dataclass(frozen=True, slots=True)
class Hooked:
    """An attachment: program id, netdev and hook. `ifindex` 0: not attached to a netdev of this network namespace."""

    program: int
    ifindex: int
    point: str


def read(root: Bpffs, path: str, netdevs: Mapping[str, NetdevState], by_index: Mapping[int, str]) -> Hooked | None:
    """The attachment at a pin, by the kernel's state and not by the pin's name; None if there is none."""
    try:
        fd = root.open_pin(path)
    except OSError:
        return None
    try:
        info = bpf.link_info(fd)
        if info.kind in _LINKS:
            point = "xdp" if info.kind == bpf.LINK_TYPE_XDP else _TCX_POINTS.get(info.attach_type, "")
            return Hooked(info.program, info.ifindex if _holds(info, netdevs.get(by_index.get(info.ifindex, ""))) else 0, point)
        point, named = path.rpartition("/")[2].rstrip("~"), netdevs.get(unescape(path.split("/")[1]))
        return _filtered(programs.info(fd).identity, point, named, netdevs) if point in _CLSACT else None
    except OSError:
        return None
    finally:
        os.close(fd)


def _holds(info: bpf.LinkInfo, netdev: NetdevState | None) -> bool:
    """Whether `netdev` really has the link: a netdev in another network namespace may have the same index."""
    if netdev is None:
        return False
    if info.kind == bpf.LINK_TYPE_XDP:
        return netdev.xdp is not None and (netdev.xdp.program == info.program or netdev.xdp.mode == "multi")
    return any(link == info.identity for _, link in bpf.hook_links(netdev.index, info.attach_type))


def _filtered(program: int, point: str, named: NetdevState | None, netdevs: Mapping[str, NetdevState]) -> Hooked:
    """The netdev on which a filter of ours has the pinned program: the one of the pin's name, or one that was renamed. If there
    is none, the program of our filter at the netdev of the pin's name, if any."""
    instead = 0
    for netdev in (*([named] if named is not None else []), *(netdev for netdev in netdevs.values() if netdev is not named)):
        for entry in clsact.query(netdev.index, _CLSACT[point]):
            if entry.ours and entry.program == program:
                return Hooked(program, netdev.index, point)
            instead = entry.program if entry.ours and netdev is named else instead
    return Hooked(instead, named.index, point) if instead and named is not None else Hooked(0, 0, point)


def _attached_to(root: Bpffs, path: str) -> int:
    """The index of the netdev of this network namespace that a pin's link is attached to; 0 if there is none."""
    from reconciler.kernel import rtnl

    try:
        fd = root.open_pin(path)
    except OSError:
        return 0
    try:
        info = bpf.link_info(fd)
        if info.kind not in _LINKS or not info.ifindex:
            return 0
        netdev = next((netdev for netdev in rtnl.links().values() if netdev.index == info.ifindex), None)
        return info.ifindex if _holds(info, netdev) else 0
    except OSError:
        return 0
    finally:
        os.close(fd)


def holders(ifindex: int, point: str) -> str:
    """The programs at a hook, for messages."""
    from reconciler.kernel import rtnl

    try:
        if point == "xdp":
            ids = [state.xdp.program for state in rtnl.links().values() if state.index == ifindex and state.xdp]
        else:
            ids = bpf.hook_programs(ifindex, ATTACH[point])
    except OSError:
        ids = []
    return ", ".join(map(_words, ids)) or "a program that the kernel does not name"


def unpinned(ifindex: int, point: str) -> str:
    """The first program at a TC hook that is a stub or a chain of pcn's, with its link; '' if there is none. For hooks without
    an attachment of this root. Waits up to _DETACHED seconds for the release of a link whose pin was just removed."""
    deadline = time.monotonic() + _DETACHED
    while True:
        try:
            found = [(_words(program), link) for program, link in bpf.hook_links(ifindex, ATTACH[point])]
        except OSError:
            return ""
        said = next((f"{words}, link {link}" for words, link in found if _OF_PCN.search(words)), "")
        if not said or time.monotonic() > deadline:
            return said
        time.sleep(0.02)


def _words(identity: int) -> str:
    try:
        fd = bpf.fd_by_id(bpf.PROG_BY_ID, identity)
    except OSError:
        return f"program {identity}"
    try:
        return f"program {identity} ({programs.info(fd).name or 'without a name'})"
    finally:
        os.close(fd)


def _attach_error(error: OSError, ifindex: int, point: str, mode: str) -> Exception:
    name = _name(ifindex)
    if error.errno in (errno.EBUSY, errno.EEXIST):
        return HookHeld(f"{name}'s {point} hook is held by {holders(ifindex, point)}, which pcn did not attach")
    hint = ""
    if mode == "drv" and error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ERANGE):
        hint = "this netdev has no native XDP for its present MTU; use type: XDP_SKB or TC"
    return kernel_error(f"attach to {name}'s {point} hook", error.errno or 0, hint)


def _name(ifindex: int) -> str:
    import socket

    return next((name for index, name in socket.if_nameindex() if index == ifindex), f"netdev {ifindex}")

"""Attaching programs to netdevs: by bpf_link where the kernel can, by a clsact filter where it has no TCX (before 6.6).

A hook has a path below links/. With a bpf_link, the link is pinned there, and dies with its pin. With clsact nothing
of the attachment can be pinned, so the program is, as the mark that the filter is ours.
"""
from __future__ import annotations

import contextlib
import errno
import functools
import os
import struct

from reconciler.errors import HookHeld, KernelError, kernel_error
from reconciler.kernel import bpf, clsact, programs
from reconciler.kernel.bpffs import Bpffs

ATTACH = {"xdp": bpf.ATTACH_XDP, "tcx_ingress": bpf.ATTACH_TCX_INGRESS, "tcx_egress": bpf.ATTACH_TCX_EGRESS}
_MODES = {"": 0, "skb": bpf.XDP_FLAGS_SKB_MODE, "drv": bpf.XDP_FLAGS_DRV_MODE}
_CLSACT: dict[str, clsact.Direction] = {"tcx_ingress": "ingress", "tcx_egress": "egress"}
_LOOPBACK = 1


@functools.cache
def has_tcx() -> bool:
    """Whether this kernel has TCX. PCN_NO_TCX=1 says no, to try the other way on a kernel that has it."""
    if os.environ.get("PCN_NO_TCX") == "1":
        return False
    try:
        bpf.hook_programs(_LOOPBACK, bpf.ATTACH_TCX_INGRESS)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def attach(root: Bpffs, path: str, program: int, ifindex: int, point: str, mode: str = "") -> None:
    """Attach and pin. The pin of a link whose netdev is gone gives way. Raises KernelError, HookHeld (by errno EBUSY).

    A link of ours that is there still is updated: unpinned, it would be gone only some time later, and in the way until then.
    """
    held = read(root, path, ifindex, point)
    if held is not None and held[1] == ifindex:
        update(root, path, program, ifindex, point)
        return
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
    """Swap the program of a hook that is ours, without a gap."""
    if point != "xdp" and not has_tcx():
        clsact.attach(ifindex, _CLSACT[point], program)
        root.remove(path)
        root.pin(program, path)
        return
    with root.opened(path) as link:
        bpf.link_update(link, program, None)


def detach(root: Bpffs, path: str, ifindex: int, point: str) -> None:
    """Detach and unpin; whatever of it is gone already is no error. `ifindex` 0: the netdev is gone."""
    if root.exists(path):
        if point != "xdp" and not has_tcx():
            if ifindex:
                clsact.detach(ifindex, _CLSACT[point])
        else:
            with contextlib.suppress(OSError, KernelError), root.opened(path) as link:
                bpf.bpf(bpf.LINK_DETACH, struct.pack("<I", link))
        root.remove(path)
    root.remove_directory(path.rpartition("/")[0])


def read(root: Bpffs, path: str, ifindex: int, point: str) -> tuple[int, int] | None:
    """(program id, ifindex) of a hook of ours; ifindex 0: it is attached to nothing any more. None: there is no such hook."""
    try:
        fd = root.open_pin(path)
    except OSError:
        return None
    try:
        if point != "xdp" and not has_tcx():
            mine = next((entry for entry in clsact.query(ifindex, _CLSACT[point]) if entry.ours), None) if ifindex else None
            return (mine.program, ifindex) if mine is not None else (0, 0)
        info = bpf.link_info(fd)
        return (info.program, info.ifindex) if info.kind in (bpf.LINK_TYPE_XDP, bpf.LINK_TYPE_TCX) else None
    except OSError:
        return None
    finally:
        os.close(fd)


def holders(ifindex: int, point: str) -> str:
    """Who is on a hook, as well as the kernel can say."""
    from reconciler.kernel import rtnl

    try:
        if point == "xdp":
            ids = [state.xdp.program for state in rtnl.links().values() if state.index == ifindex and state.xdp]
        else:
            ids = bpf.hook_programs(ifindex, ATTACH[point])
    except OSError:
        ids = []
    return ", ".join(map(_words, ids)) or "a program that the kernel does not name"


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
    name = next((name for index, name in _names() if index == ifindex), f"netdev {ifindex}")
    if error.errno in (errno.EBUSY, errno.EEXIST):
        return HookHeld(f"{name}'s {point} hook is held by {holders(ifindex, point)}, which pcn did not attach")
    hint = ""
    if mode == "drv" and error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ERANGE):
        hint = "this netdev has no native XDP for its present MTU; use type: XDP_SKB or TC"
    return kernel_error(f"attach to {name}'s {point} hook", error.errno or 0, hint)


def _names() -> list[tuple[int, str]]:
    import socket

    return socket.if_nameindex()



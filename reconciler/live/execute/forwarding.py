"""Perform the operations on a packet's path: next hops, members of a flood, hooks of netdevs."""

from __future__ import annotations

import struct

from reconciler.kernel import hooks, maps
from reconciler.live.execute.network import index, index_or_none
from reconciler.live.execute.opened import Opened, Performers
from reconciler.live.execute.programs import clear_slot, set_slot
from reconciler.plan.operations import AttachHook, DetachHook, MoveHook, SetHop, SetMember, UpdateHook

_HOPS = {"none": 0, "pass": 1, "netdev": 2, "program": 3}


class Forwarding:
    def __init__(self, opened: Opened) -> None:
        self._opened, self._root = opened, opened.root

    def performers(self) -> Performers:
        return {
            SetHop: self._set_hop,
            SetMember: self._set_member,
            AttachHook: self._attach_hook,
            UpdateHook: self._update_hook,
            DetachHook: self._detach_hook,
            MoveHook: self._move_hook,
        }

    def _set_hop(self, do: SetHop) -> None:
        """The tail-call slot is written before the row that refers to it, and removed after it."""
        if do.hop == "program":
            set_slot(self._opened, f"{do.home}next", do.row, do.target)
        ifindex = index(do.target) if do.hop == "netdev" else 0
        value = struct.pack("<II", _HOPS[do.hop], ifindex)
        maps.update(self._opened.fd(f"{do.home}hops"), struct.pack("<I", do.row), value)
        if do.hop != "program" and self._root.exists(f"{do.home}next"):
            clear_slot(self._opened, f"{do.home}next", do.row)

    def _set_member(self, do: SetMember) -> None:
        fd, key = self._opened.fd(f"{do.home}/flood"), struct.pack("<I", do.index)
        if do.family == "TC":
            ifindex = index(do.far or do.netdev) if do.netdev else 0
            kind = 2 if do.netdev else 1 if _members_beyond(fd, do.index) else 0
            _fill_holes(fd, do.index if do.netdev else 0)
            maps.update(fd, key, struct.pack("<III", kind, ifindex, int(bool(do.far))))
            return
        pair = (index(do.netdev), index(do.far)) if do.far else (0, 0)
        if do.far:  # known before frames go there, and until none does
            maps.update(self._opened.fd(f"{do.home}/reenter"), key, struct.pack("<II", *pair))
        if do.netdev:
            maps.update(fd, key, struct.pack("<I", index(do.netdev)))
        else:
            maps.delete(fd, key)
        if not do.far:
            maps.update(self._opened.fd(f"{do.home}/reenter"), key, struct.pack("<II", *pair))

    def _attach_hook(self, do: AttachHook) -> None:
        hooks.attach(self._root, do.pin, self._opened.fd(do.stub), index(do.netdev), do.point, do.mode)

    def _update_hook(self, do: UpdateHook) -> None:
        hooks.update(self._root, do.pin, self._opened.fd(do.stub), index(do.netdev), do.point)

    def _detach_hook(self, do: DetachHook) -> None:
        hooks.detach(self._root, do.pin, index_or_none(do.netdev), do.point)

    def _move_hook(self, do: MoveHook) -> None:
        hooks.move(self._root, do.path, do.to)


def _members_beyond(fd: int, number: int) -> bool:
    rows = maps.rows(fd, maps.info(fd).spec)
    return any(struct.unpack("<I", key)[0] > number and struct.unpack_from("<I", value)[0] for key, value in rows.items())


def _fill_holes(fd: int, below: int) -> None:
    """Rows below a member must not read as the end of the table."""
    there = maps.rows(fd, maps.info(fd).spec) if below else {}
    for number in range(below):
        if there.get(key := struct.pack("<I", number)) == bytes(12):
            maps.update(fd, key, struct.pack("<III", 1, 0, 0))

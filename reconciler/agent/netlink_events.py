"""Detects netdevs that appear, disappear, or change their index, MAC or other names, and signals other changes of links and
addresses.

A netlink message serves as a wake-up only: the change is the diff of a fresh list with the last one. So a message lost in a burst
(ENOBUFS) does no harm, and nothing is decoded. A carrier that was lost and restored in between shows in the kernel's count of
losses.
"""
from __future__ import annotations

import errno
from collections.abc import Mapping

from reconciler.kernel import nlmsg, rtnl
from reconciler.kernel.netstate import NetdevState

_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_GROUPS = (1, 5, 9)  # RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR
_State = tuple[int, str, bool, bool, int, tuple[str, ...]]
CAME, RAISED, LOST, BLINKED = "appeared", "was set up", "lost its carrier", "lost its carrier, and has it again"


class LinkEvents:
    """The netdevs of the network namespace in which this is created."""

    def __init__(self) -> None:
        self._sock = nlmsg.open_socket()
        for group in _GROUPS:
            self._sock.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, group)
        self._sock.setblocking(False)
        self._last = _read()

    def fileno(self) -> int:
        return self._sock.fileno()

    def discard(self) -> None:
        """Drain the socket; `changes` finds what happened."""
        while True:
            try:
                self._sock.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise

    def changes(self) -> dict[str, str]:
        """Changes since the last call, by netdev: 'came', 'went away', 'lost its carrier'."""
        before, now = self._last, _read()
        self._last = now
        found = {name: CAME for name in now if name not in before}
        found |= {name: "went away" for name in before if name not in now}
        for name in now.keys() & before.keys():
            old_index, old_mac, old_up, had, old_losses, old_names = before[name]
            index, mac, is_up, has, losses, names = now[name]
            if index != old_index:
                found[name] = "was made anew"
            elif has and losses > old_losses:
                found[name] = BLINKED
            elif mac != old_mac:
                found[name] = f"has MAC {mac} now"
            elif is_up != old_up:
                found[name] = RAISED if is_up else "was set down"
            elif has != had:
                found[name] = "has a carrier" if has else LOST
            elif names != old_names:
                found[name] = f"has these other names now: {', '.join(names) or 'none'}"
        return found

    def is_as(self, name: str, netdev: NetdevState | None) -> bool:
        """Whether a netdev, as of the last `changes`, is in this state, which a poll has handled already."""
        return netdev is not None and self._last.get(name) == _of(netdev)

    def lost(self, changes: Mapping[str, str]) -> set[str]:
        """Of these `changes`, the netdevs without a carrier, or that lost it for a while. One that is new, or was just set up,
        does not count."""
        dead = {name for name, (_, _, is_up, has, _, _) in self._last.items() if not (is_up and has)}
        return {name for name, what in changes.items() if what == BLINKED or (name in dead and what not in (CAME, RAISED))}

    def close(self) -> None:
        self._sock.close()


def _read() -> dict[str, _State]:
    return {name: _of(netdev) for name, netdev in rtnl.links().items()}


def _of(netdev: NetdevState) -> _State:
    return netdev.index, netdev.mac, netdev.up, netdev.carrier, netdev.losses, netdev.other_names

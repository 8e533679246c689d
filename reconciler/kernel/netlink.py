"""Changing the kernel's network: netdevs, their addresses and routes. Reading is `reconciler.kernel.rtnl`.

Links are created by pyroute2 (`reconciler.kernel.linkmake`); single changes are raw requests (`reconciler.kernel.linkwrite`).
Here are the changes that take more than one request, and must not stop half-way.
"""
from __future__ import annotations

import errno
import random
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any

from reconciler.errors import KernelError, kernel_error
from reconciler.kernel import linkspec, linkwrite, nlmsg, rtnl
from reconciler.kernel.linkmake import LinkMaker
from reconciler.kernel.linkspec import Change
from reconciler.kernel.linkwrite import ifinfo
from reconciler.kernel.netstate import EndState
from reconciler.model import Link, LinkEnd, Route

SCRATCH_GROUPS = 63  # see owned_groups


def owned_groups(group: int) -> range:
    """The groups in which a link of `group` can be found: its own, and those it passes through while it is deleted.

    A process killed within `delete_group` leaves links in one of the others; they are still ours, and doomed.
    """
    return range(group, group + 1 + SCRATCH_GROUPS)


class Netlink:
    """A writer for the namespace that the calling thread is in, and for all named ones. Close it, or use it in a `with`.

    To be used by the thread that made it, and not from a coroutine (pyroute2 runs an event loop of its own).
    """

    def __init__(self) -> None:
        self._maker = LinkMaker()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._maker.close()

    def create_link(self, link: Link, group: int, alias: str = "") -> None:
        """Make a netdev (both ends of a veth), in `group` from its first moment, with its MTU and MAC; then `alias`, and up
        if it is wanted up. Addresses and routes are `configure`'s. What fails half-way is taken away again.

        Raises KernelError (EEXIST if a name is taken), FeatureMissing for a kind that this kernel does not have.
        """
        self._maker.make(link, group)
        ends = [end for end in (link.end, link.peer) if end is not None]
        try:
            for end in ends:
                linkwrite.set_link(end.name, end.netns, alias=alias or None, up=True if end.up else None)
            for end in ends:
                rtnl.link(end.name, end.netns)  # so that it carries packets from now on; see there
        except KernelError:
            with suppress(KernelError):
                linkwrite.delete_link(link.end.name, link.end.netns)
            raise


def configure(end: LinkEnd) -> list[Change]:
    """Make a netdev that exists as `end` says; returns what was changed. Raises KernelError (ENODEV if it does not exist)."""
    changes = linkspec.diff_end(end, _must_exist(end.name, end.netns))
    apply_changes(end.name, end.netns, changes)
    return changes


def apply_changes(name: str, netns: str | None, changes: Sequence[Change]) -> None:
    """Do the changes that `linkspec.diff_end` found; all of them, or (after a KernelError) none.

    To take them back later: `apply_changes(name, netns, [change.undo() for change in changes])`.
    """
    before = _must_exist(name, netns)
    try:
        _change(before, changes)
    except KernelError:
        with suppress(KernelError):  # the first error says more than one met while cleaning up
            _change(now := _must_exist(name, netns), linkspec.diff_end(_as_wanted(before), now))
        raise


def _change(before: EndState, changes: Sequence[Change]) -> None:
    netdev = before.netdev
    plain: dict[str, Any] = {change.field: change.after for change in changes if change.field in ("mtu", "mac", "up")}
    if plain:
        linkwrite.set_link(netdev.name, netdev.netns, **plain)
    for change in changes:
        if change.field == "route" and isinstance(change.before, Route):
            linkwrite.remove_route(netdev.name, netdev.netns, change.before)
        if change.field == "address" and isinstance(change.before, str):
            linkwrite.remove_address(netdev.name, netdev.netns, change.before)
    _add_missing(before, changes, up=plain.get("up", netdev.up))


def _add_missing(before: EndState, changes: Sequence[Change], *, up: bool) -> None:
    """Add what is to be added, and again what the kernel took away beyond what it was told to: secondary addresses with
    their primary one, IPv6 addresses with the link's state, routes with their gateway's subnet."""
    name, netns = before.netdev.name, before.netdev.netns
    now = _must_exist(name, netns)
    removed = {change.before for change in changes}
    addresses = [state.address for state in before.addresses if not state.automatic]
    addresses += [change.after for change in changes if change.field == "address" and isinstance(change.after, str)]
    present = {state.address for state in now.addresses}
    for address in dict.fromkeys(addresses):
        if address not in removed and address not in present:
            linkwrite.add_address(name, netns, address)
    if not up:
        return
    routes = [Route(state.to, state.via) for state in before.routes if not state.automatic]
    routes += [change.after for change in changes if isinstance(change.after, Route)]
    there = {Route(state.to, state.via) for state in now.routes}
    # Routes without a gateway first: a gateway may be reachable through one of them.
    for route in sorted(dict.fromkeys(routes), key=lambda route: route.via is not None):
        if route not in removed and route not in there:
            linkwrite.add_route(name, netns, route)


def delete_group(group: int, names: Collection[str], netns: str | None = None) -> list[str]:
    """Delete those of the named netdevs that are in `group` (or `owned_groups(group)`), all at once; returns their names.

    Deleting a veth costs the kernel 20 ms of waiting, but all links of a group are deleted with one wait. The doomed ones
    are inserted in a group of their own for it, so that no other link can be hit. Raises KernelError.
    """
    owned, present = owned_groups(group), rtnl.links(netns)
    doomed = [present[name] for name in dict.fromkeys(names) if name in present and present[name].group in owned]
    if not doomed:
        return []
    taken = {netdev.group for netdev in present.values()}
    scratch = [number for number in owned[1:] if number not in taken]
    with linkwrite.requesting(f"delete {len(doomed)} netdevs", netns) as sock:
        if len(doomed) == 1 or not scratch:
            outcomes = nlmsg.requests(sock, [(rtnl.RTM_DELLINK, 0, ifinfo(netdev.index)) for netdev in doomed])
        else:
            doom = nlmsg.u32(linkwrite.GROUP, random.choice(scratch))  # noqa: S311 - two writers should not choose the same
            moves = [(rtnl.RTM_SETLINK, 0, ifinfo(netdev.index) + doom) for netdev in doomed]
            outcomes = nlmsg.requests(sock, [*moves, (rtnl.RTM_DELLINK, 0, ifinfo(0) + doom)])
        for failure in outcomes:
            if failure is not None and failure.errno != errno.ENODEV:  # ENODEV: it went with its peer, or by itself
                raise failure
    return [netdev.name for netdev in doomed]


def _must_exist(name: str, netns: str | None) -> EndState:
    state = rtnl.end(name, netns)
    if state is None:
        raise kernel_error(f"change the netdev '{name}'", errno.ENODEV)
    return state


def _as_wanted(state: EndState) -> LinkEnd:
    """The end that would be seen as `state`: what a failed change goes back to."""
    netdev = state.netdev
    return LinkEnd(
        netdev.name, netdev.netns, tuple(entry.address for entry in state.addresses if not entry.automatic),
        tuple(Route(entry.to, entry.via) for entry in state.routes if not entry.automatic), netdev.mtu, netdev.mac, netdev.up,
    )  # fmt: skip

"""Changes of netdevs, their addresses and routes. Reads are in `reconciler.kernel.rtnl`.

Links are created by pyroute2 (`reconciler.kernel.linkmake`); single changes are raw requests (`reconciler.kernel.linkwrite`).
This module has the changes that take more than one request, and are undone on failure.
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
    """The groups in which a link of `group` can be: its own, and the scratch groups in which it is deleted.

    If a process is killed within `delete_group`, links stay in a scratch group; they are still ours, and to be deleted.
    """
    return range(group, group + 1 + SCRATCH_GROUPS)


class Netlink:
    """A writer for the calling thread's namespace, and for all named ones. Close it, or use it in a `with`.

    Only for the thread that created it, and not from a coroutine (pyroute2 runs an event loop of its own).
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
        """Create a netdev (both ends of a veth) with its group, MTU and MAC; then set `alias`, and up if desired. Addresses and
        routes are set by `configure`. On failure the netdev is deleted.

        Raises KernelError (EEXIST if a name is taken), FeatureMissing for a kind that this kernel does not have.
        """
        self._maker.make(link, group)
        ends = [end for end in (link.end, link.peer) if end is not None]
        try:
            for end in ends:
                linkwrite.set_link(end.name, end.netns, alias=alias or None, up=True if end.up else None)
            for end in ends:
                rtnl.link(end.name, end.netns)  # so that it forwards packets at once: see `rtnl.link`
        except KernelError:
            with suppress(KernelError):
                linkwrite.delete_link(link.end.name, link.end.netns)
            raise


def configure(end: LinkEnd) -> list[Change]:
    """Change an existing netdev to `end`; returns the changes. Raises KernelError (ENODEV if it does not exist)."""
    changes = linkspec.diff_end(end, _must_exist(end.name, end.netns))
    apply_changes(end.name, end.netns, changes)
    return changes


def apply_changes(name: str, netns: str | None, changes: Sequence[Change]) -> None:
    """Perform the changes that `linkspec.diff_end` returned; all of them, or (after a KernelError) none.

    To undo them later: `apply_changes(name, netns, [change.undo() for change in changes])`.
    """
    before = _must_exist(name, netns)
    try:
        _change(before, changes)
    except KernelError:
        with suppress(KernelError):  # the first error is reported, not one of the rollback
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
    """Add the new addresses and routes, and restore those that the kernel removed as a side effect: secondary addresses with
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
    """Delete those of the named netdevs that are in `owned_groups(group)`, all at once; returns their names.

    The deletion of a veth waits 20 ms in the kernel, but all links of a group are deleted with one wait. So several netdevs are
    moved to an unused scratch group first, which has no other links. Raises KernelError.
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
            if failure is not None and failure.errno != errno.ENODEV:  # ENODEV: deleted with its peer, or by someone else
                raise failure
    return [netdev.name for netdev in doomed]


def _must_exist(name: str, netns: str | None) -> EndState:
    state = rtnl.end(name, netns)
    if state is None:
        raise kernel_error(f"change the netdev '{name}'", errno.ENODEV)
    return state


def _as_wanted(state: EndState) -> LinkEnd:
    """The end whose state is `state`, to restore it after a failed change."""
    netdev = state.netdev
    return LinkEnd(
        netdev.name, netdev.netns, tuple(entry.address for entry in state.addresses if not entry.automatic),
        tuple(Route(entry.to, entry.via) for entry in state.routes if not entry.automatic), netdev.mtu, netdev.mac, netdev.up,
    )  # fmt: skip

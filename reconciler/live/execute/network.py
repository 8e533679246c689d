"""Perform the operations on the network around the cubes: namespaces, netdevs, their settings."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
from dataclasses import asdict, replace
from typing import cast

from reconciler import pins
from reconciler.errors import KernelError, kernel_error
from reconciler.kernel import linkwrite, netlink, netns, offload, rtnl
from reconciler.kernel.bpffs import Bpffs
from reconciler.kernel.linkspec import diff_end, told_changes, told_routes
from reconciler.live.execute.opened import Performers
from reconciler.live.observe_links import OWN_OPTIONS, alias, group_of
from reconciler.model import Link, LinkEnd
from reconciler.plan.operations import (
    ClaimLink,
    ConfigureEnd,
    CreateLink,
    CreateNamespace,
    DeleteLinks,
    DeleteNamespace,
    SetOffload,
    SetPromiscuous,
    TellEnd,
)


class Network:
    """`root` marks what is created. What was deleted and is created again gets the MACs that it had."""

    def __init__(self, root: Bpffs) -> None:
        self._root, self._group = root, group_of(str(root.root))
        self._writer: netlink.Netlink | None = None
        self._macs: dict[tuple[str | None, str], str] = {}

    def performers(self) -> Performers:
        return {
            CreateNamespace: self._create_namespace,
            DeleteNamespace: self._delete_namespace,
            CreateLink: self._create_link,
            DeleteLinks: self._delete_links,
            ClaimLink: self._claim_link,
            ConfigureEnd: self._configure_end,
            TellEnd: self._tell_end,
            SetPromiscuous: self._set_promiscuous,
            SetOffload: self._set_offload,
        }

    @property
    def _netlink(self) -> netlink.Netlink:
        if self._writer is None:
            self._writer = netlink.Netlink()
        return self._writer

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _create_namespace(self, do: CreateNamespace) -> None:
        """The mark is created first: a namespace without one would be taken for another owner's."""
        self._root.make_directory("namespaces")
        self._root.set_link(pins.namespace(do.name), do.topology)
        if do.name not in netns.names():
            netns.create(do.name)

    def _delete_namespace(self, do: DeleteNamespace) -> None:
        netns.delete(do.name)
        self._root.remove(pins.namespace(do.name))

    def _create_link(self, do: CreateLink) -> None:
        made = self._as_it_was(do.link) if do.again else do.link
        plain = replace(made, options={name: value for name, value in made.options.items() if name not in OWN_OPTIONS})
        quiet = made.options.get("quiet", False)
        if not quiet:
            from reconciler.live.steady_mac import with_steady_macs

            plain = with_steady_macs(plain)
        self._netlink.create_link(_down(plain) if quiet else plain, self._group, alias(str(self._root.root), do.topology))
        if quiet:
            for end in (made.end, made.peer):
                if end is not None:
                    _silence(end)
                    netlink.configure(end)
        if do.again:
            for end in (made.end, made.peer):
                if end is not None:
                    netlink.configure(end)

    def _as_it_was(self, link: Link) -> Link:
        def known(end: LinkEnd) -> LinkEnd:
            return replace(end, mac=end.mac or self._macs.get((end.netns, end.name)))

        return replace(link, end=known(link.end), peer=known(link.peer) if link.peer else None)

    def _delete_links(self, do: DeleteLinks) -> None:
        by_namespace: dict[str | None, list[str]] = {}
        for made in do.links:
            by_namespace.setdefault(made.end.netns, []).append(made.end.name)
            for end in (made.end, made.peer):
                state = rtnl.end(end.name, end.netns) if end is not None else None
                if end is not None and state is not None:
                    self._macs.setdefault((end.netns, end.name), state.netdev.mac)
        for namespace, names in by_namespace.items():
            netlink.delete_group(self._group, names, namespace)

    def _claim_link(self, do: ClaimLink) -> None:
        mark = alias(str(self._root.root), do.topology) if do.topology else ""
        for end in (do.link.end, do.link.peer):
            if end is not None:
                linkwrite.set_link(end.name, end.netns, alias=mark, group=self._group)

    def _configure_end(self, do: ConfigureEnd) -> None:
        wanted, old = do.end, do.before
        state = rtnl.end(wanted.name, wanted.netns)
        if state is None:
            raise kernel_error(f"configure netdev {wanted.name!r}", errno.ENODEV)
        changes = diff_end(
            LinkEnd(
                wanted.name,
                wanted.netns,
                wanted.addresses,
                wanted.routes,
                wanted.mtu or old.mtu,
                wanted.mac or old.mac,
                wanted.up,
            ),
            state,
        )
        netlink.apply_changes(wanted.name, wanted.netns, changes)

    def _tell_end(self, do: TellEnd) -> None:
        """A route that has no gateway there by now is omitted."""
        wanted, old = do.end, do.before
        state = rtnl.end(wanted.name, wanted.netns)
        if state is None:
            raise kernel_error(f"configure netdev {wanted.name!r}", errno.ENODEV)
        netlink.apply_changes(wanted.name, wanted.netns, told_changes(wanted, old, state))
        for change in told_routes(wanted, old, state):
            with contextlib.suppress(KernelError):
                netlink.apply_changes(wanted.name, wanted.netns, [change])
        said = {"mac": wanted.mac, "addresses": list(wanted.addresses), "routes": [asdict(route) for route in wanted.routes]}
        self._root.make_directory(do.told.rpartition("/")[0])
        self._root.set_link(do.told, json.dumps(said, separators=(",", ":")))

    def _set_promiscuous(self, do: SetPromiscuous) -> None:
        """The mark is written before, and removed after. The mark of a removed netdev does not apply to a new one of its
        name."""
        path = pins.promiscuous(do.netdev)
        if do.on:
            self._root.make_directory(pins.PROMISCUOUS)
            self._root.set_link(path, f"{index(do.netdev)} {do.topology}")
            linkwrite.set_promiscuous(do.netdev, on=True)
            return
        number = self._promiscuous(path)
        marks = (f"{pins.PROMISCUOUS}/{name}" for name in self._root.names(pins.PROMISCUOUS))
        others = {self._promiscuous(mark) for mark in marks if mark != path}
        with contextlib.suppress(OSError):  # it is gone
            if number not in others:
                linkwrite.set_promiscuous(socket.if_indextoname(number), on=False)
        self._root.remove(path)

    def _promiscuous(self, path: str) -> int:
        """The netdev that a mark is of, whatever it is called by now; 0 for none."""
        number = (self._root.read_link(path) or "").partition(" ")[0]
        return int(number) if number.isdecimal() else 0

    def _set_offload(self, do: SetOffload) -> None:
        with contextlib.suppress(FileNotFoundError):
            try:
                for name, on in do.settings.items():
                    offload.put(do.netdev, cast("offload.Offload", name), on, do.netns)
            except KernelError as error:
                if error.errno != errno.ENODEV:  # it went with its link
                    raise


def index(netdev: str) -> int:
    """A netdev's ifindex now. Raises KernelError (ENODEV)."""
    try:
        return socket.if_nametoindex(netdev)
    except OSError:
        raise kernel_error(f"find netdev {netdev!r}", errno.ENODEV) from None


def index_or_none(netdev: str) -> int:
    """A netdev's ifindex now, 0 if it no longer exists."""
    try:
        return socket.if_nametoindex(netdev)
    except OSError:
        return 0


def _silence(end: LinkEnd) -> None:
    """No IPv6 on a hidden veth: its own multicast would be flooded into the graph. In a cube's namespace no forwarding, which is
    the cube's work."""
    silent = [("ipv6", "disable_ipv6", "1")] if end.netns is None else [("ipv4", "forwarding", "0"), ("ipv6", "forwarding", "0")]
    with netns.inside(end.netns):
        for family, name, value in silent:
            with (
                contextlib.suppress(FileNotFoundError),
                open(f"/proc/sys/net/{family}/conf/{end.name}/{name}", "w", encoding="ascii") as switch,
            ):
                switch.write(value)


def _down(link: Link) -> Link:
    def down(end: LinkEnd | None) -> LinkEnd | None:
        return None if end is None else LinkEnd(end.name, end.netns, mtu=end.mtu, mac=end.mac, up=False)

    lowered = down(link.end)
    assert lowered is not None
    return Link(link.kind, lowered, down(link.peer), link.options)

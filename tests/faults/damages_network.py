"""Ways to damage the network that a topology owns: netdevs, addresses, routes, namespaces."""
from __future__ import annotations

import os
from collections.abc import Iterator

from reconciler.kernel import linkwrite, netns
from reconciler.model import Route
from tests.faults.damaged import (
    Rig,
)
from tests.faults.damages import Damage


def a_netdev_is_deleted(r: Rig) -> str:
    linkwrite.delete_link(r.netdev(1))
    return "link/:*1"


def a_host_s_end_is_deleted(r: Rig) -> str:
    linkwrite.delete_link("eth0", r.host(3))
    return "link/:*3"


def a_hidden_veth_is_deleted(r: Rig) -> str:
    linkwrite.delete_link(_hidden(r))
    return f"link/:{_hidden_name(r)}"


def _hidden(r: Rig) -> str:
    return next(name for name in sorted(_ours(r)) if name.startswith("pcn"))


def _hidden_name(r: Rig) -> str:
    return "pcn*"


def _ours(r: Rig) -> Iterator[str]:
    from reconciler.kernel import rtnl

    return (name for name, netdev in rtnl.links().items() if netdev.alias.startswith(f"{r.root}/"))


def a_netdev_is_down(r: Rig) -> str:
    linkwrite.set_link(r.netdev(1), up=False)
    return "link/:*1"


def a_host_s_end_is_down(r: Rig) -> str:
    linkwrite.set_link("eth0", r.host(2), up=False)
    return "link/:*2"


def an_address_is_removed(r: Rig) -> str:
    linkwrite.remove_address("eth0", r.host(2), "10.8.0.2/24")
    return "link/:*2"


def an_address_is_added(r: Rig) -> str:
    linkwrite.add_address("eth0", r.host(2), "192.0.2.200/32")
    return "link/:*2"


def an_mtu_is_changed(r: Rig) -> str:
    linkwrite.set_link("eth0", r.host(1), mtu=1300)
    return "link/:*1"


def a_mac_is_changed(r: Rig) -> str:
    linkwrite.set_link("eth0", r.host(1), mac="02:00:00:08:00:0f")
    return "link/:*1"


def a_route_is_removed(r: Rig) -> str:
    linkwrite.remove_route("eth0", r.host(1), Route("192.0.2.0/24", "10.8.0.2"))
    return "link/:*1"


def a_route_is_added(r: Rig) -> str:
    linkwrite.add_route("eth0", r.host(2), Route("203.0.113.0/24", "10.8.0.1"))
    return "link/:*2"


def a_netdev_has_lost_its_mark(r: Rig) -> str:
    linkwrite.set_link(r.netdev(1), alias="")
    return "link/:*1"


def a_netdev_is_in_another_group(r: Rig) -> str:
    linkwrite.set_link(r.netdev(2), group=0)
    return "link/:*2"


def a_namespace_is_deleted(r: Rig) -> str:
    netns.delete(r.host(3))
    return "namespace/*h3"


def a_namespace_s_mark_is_gone(r: Rig) -> str:
    os.unlink(r.path("namespaces/h3"))
    return "namespace/*h3"


ALL: list[Damage] = [
    a_netdev_is_deleted, a_host_s_end_is_deleted, a_hidden_veth_is_deleted, a_netdev_is_down, a_host_s_end_is_down,
    an_address_is_removed, an_address_is_added, an_mtu_is_changed, a_mac_is_changed, a_route_is_removed, a_route_is_added,
    a_netdev_has_lost_its_mark, a_netdev_is_in_another_group, a_namespace_is_deleted, a_namespace_s_mark_is_gone,
]  # fmt: skip

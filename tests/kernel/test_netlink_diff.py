"""What counts as a difference of a link end: pure, no kernel."""
from __future__ import annotations

import pytest

from reconciler.kernel.linkspec import Change, canonical_address, canonical_route, diff_end, differing_options
from reconciler.kernel.netstate import AddressState, EndState, NetdevState, RouteState
from reconciler.model import Link, LinkEnd, Route


def netdev(**fields) -> NetdevState:
    plain = {"name": "eth0", "index": 3, "kind": "veth", "mac": "02:00:00:00:00:01", "mtu": 1500, "up": True, "running": True,
             "group": 0, "alias": "", "peer_index": 2, "peer_netnsid": None, "master": 0, "netns": None}  # fmt: skip
    return NetdevState(**plain | fields)


def test_an_end_that_asks_for_nothing_differs_in_nothing():
    seen = EndState(netdev(mtu=9000), (AddressState(3, "fe80::1/64", True),), (RouteState(3, "10.0.0.0/8", None, 0, True),))
    assert diff_end(LinkEnd("eth0"), seen) == []


def test_each_leaf_that_differs_is_one_change():
    wanted = LinkEnd("eth0", None, ("10.0.0.1/24",), (Route("default", "10.0.0.254"),), 1400, "02:00:00:00:00:0A", True)
    address, route = AddressState(3, "10.0.0.9/24", False), RouteState(3, "0.0.0.0/0", "10.0.0.253", 0, False)
    seen = EndState(netdev(up=False), (address,), (route,))
    assert [str(change) for change in diff_end(wanted, seen)] == [
        "mtu 1500 -> 1400", "mac 02:00:00:00:00:01 -> 02:00:00:00:00:0a", "up no -> yes",
        "- address 10.0.0.9/24", "+ address 10.0.0.1/24",
        "- route 0.0.0.0/0 via 10.0.0.253", "+ route 0.0.0.0/0 via 10.0.0.254",
    ]  # fmt: skip


def test_other_spellings_of_the_same_are_no_difference():
    routes = (Route("10.9.3.4/8"), Route("default", "FD00::2"))
    wanted = LinkEnd("eth0", None, ("10.0.0.1", "FD00:0::1/64"), routes, mac="02:00:00:00:00:01")
    seen = EndState(
        netdev(), (AddressState(3, "10.0.0.1/32", False), AddressState(3, "fd00::1/64", False)),
        (RouteState(3, "10.0.0.0/8", None, 0, False), RouteState(3, "::/0", "fd00::2", 1024, False)),
    )  # fmt: skip
    assert diff_end(wanted, seen) == []


def test_a_link_local_address_that_is_wanted_is_compared():
    wanted = LinkEnd("eth0", None, ("fe80::5/64",))
    assert [str(change) for change in diff_end(wanted, EndState(netdev()))] == ["+ address fe80::5/64"]
    assert diff_end(wanted, EndState(netdev(), (AddressState(3, "fe80::5/64", True),))) == []


def test_routes_of_a_link_that_is_to_be_down_are_not_compared():
    wanted = LinkEnd("eth0", None, (), (Route("default", "10.0.0.1"),), up=False)
    assert diff_end(wanted, EndState(netdev(up=False))) == []


def test_undoing_twice_is_doing():
    change = Change("address", None, "10.0.0.1/24")
    assert change.undo() == Change("address", "10.0.0.1/24", None)
    assert change.undo().undo() == change


@pytest.mark.parametrize(
    ("written", "meant"),
    [("10.0.0.1/24", "10.0.0.1/24"), ("10.0.0.1", "10.0.0.1/32"), ("FD00:0:0::1", "fd00::1/128"), ("::/0", "::/0")],
)
def test_addresses_are_written_as_the_kernel_writes_them(written, meant):
    assert canonical_address(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [(Route("default"), Route("0.0.0.0/0")), (Route("default", "FD00::1"), Route("::/0", "fd00::1")),
     (Route("10.1.2.3/8"), Route("10.0.0.0/8")), (Route("fd00:1::/16"), Route("fd00::/16")),
     (Route("1.2.3.4"), Route("1.2.3.4/32"))],
)  # fmt: skip
def test_routes_are_written_as_the_kernel_writes_them(written, meant):
    assert canonical_route(written) == meant


def test_what_is_no_address_is_a_value_error():
    with pytest.raises(ValueError, match=r"10\.0\.0"):
        canonical_address("10.0.0/24")


def test_options_that_differ_are_named():
    link = Link("vxlan", LinkEnd("vx"), options={"id": 7, "remote": "FD00::2", "link": "eth0"})
    same = netdev(kind="vxlan", options={"id": 7, "remote": "fd00::2", "dstport": 4789, "link": 3})
    other = netdev(kind="vxlan", options={"id": 8, "remote": "fd00::2", "dstport": 8472, "link": 3})
    assert differing_options(link, same, {"eth0": 3}.__getitem__) == []
    assert differing_options(link, other, {"eth0": 3}.__getitem__) == ["id", "dstport"]
    assert differing_options(link, netdev(kind="bridge"), {"eth0": 3}.__getitem__) == ["kind"]

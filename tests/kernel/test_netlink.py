"""Links, addresses and routes: made as they were asked for, found as they were made, and gone when they should be."""
from __future__ import annotations

import subprocess
import sys
import time

import pytest

from reconciler.errors import FeatureMissing, KernelError
from reconciler.kernel import linkspec, linkwrite, netlink, netns, rtnl
from reconciler.kernel.linkspec import Change
from reconciler.model import Link, LinkEnd, Route
from tests.lib.netns_topology import NetnsTopology, ping

pytestmark = pytest.mark.kernel


@pytest.fixture
def world():
    with NetnsTopology() as world:
        yield world


@pytest.fixture
def writer():
    with netlink.Netlink() as writer:
        yield writer


def made(name: str, space: str | None = None):
    netdev = rtnl.links(space).get(name)
    assert netdev is not None, f"{name} is not there"
    return netdev


def test_a_veth_is_born_with_names_group_mtu_and_mac_at_both_ends(world, writer):
    h1, h2 = world.namespace("h1"), world.namespace("h2")
    near = LinkEnd("near", h1, mtu=1400, mac="02:00:00:00:00:01")
    far = LinkEnd("eth0", h2, mtu=1300, mac="02:00:00:00:00:02", up=False)
    writer.create_link(Link("veth", near, far), 77, "pcn:a/b")
    one, other = made("near", h1), made("eth0", h2)
    assert (one.kind, one.group, one.alias, one.mtu, one.mac, one.up) == ("veth", 77, "pcn:a/b", 1400, "02:00:00:00:00:01", True)
    assert (other.kind, other.group, other.alias, other.mtu, other.mac, other.up) == (
        "veth", 77, "pcn:a/b", 1300, "02:00:00:00:00:02", False)  # fmt: skip
    assert rtnl.namespace_ids([h1, h2], within=h1)[one.peer_netnsid] == h2
    assert one.peer_index == other.index


def test_a_veth_between_here_and_a_namespace_can_be_written_from_either_side(world, writer):
    h1 = world.namespace("h1")
    for number, (end, peer) in enumerate(((None, h1), (h1, None))):
        here, there = world.name(f"v{number}"), f"eth{number}"
        ends = LinkEnd(here if end is None else there, end), LinkEnd(here if peer is None else there, peer)
        writer.create_link(Link("veth", *ends), world.group)
        assert made(here).peer_index == made(there, h1).index
        assert linkwrite.delete_link(here)


@pytest.mark.parametrize(
    ("kind", "options", "seen"),
    [
        ("bridge", {}, {}),
        ("ifb", {}, {}),
        ("vxlan", {"id": 42, "remote": "10.0.0.2", "local": "10.0.0.1"},
         {"id": 42, "remote": "10.0.0.2", "local": "10.0.0.1", "dstport": 4789}),
        ("vxlan", {"id": 7, "remote": "fd00::2", "dstport": 8472}, {"id": 7, "remote": "fd00::2", "dstport": 8472}),
        ("vxlan", {"id": 7, "link": "lower"}, {"id": 7, "dstport": 4789, "link": "lower"}),
        ("macvlan", {"link": "lower"}, {"mode": "bridge", "link": "lower"}),
        ("macvlan", {"link": "lower", "mode": "private"}, {"mode": "private", "link": "lower"}),
    ],
)  # fmt: skip
def test_every_kind_is_made_with_its_options_and_read_back(world, writer, kind, options, seen):
    space = world.namespace("h1")
    writer.create_link(Link("veth", LinkEnd("lower", space), LinkEnd("other", space)), 0)
    link = Link(kind, LinkEnd("x", space, mtu=1280), options=options)
    writer.create_link(link, 5, "hello")
    netdev, lower = made("x", space), made("lower", space).index
    assert (netdev.kind, netdev.group, netdev.alias, netdev.mtu, netdev.up) == (kind, 5, "hello", 1280, True)
    assert netdev.options == seen | ({"link": lower} if "link" in seen else {})
    assert linkspec.differing_options(link, netdev, lambda name: made(name, space).index) == []


def test_a_macvlan_of_a_netdev_here_can_be_given_to_a_host(world, writer):
    space, lower = world.namespace("h1"), world.name("lo")
    world.wire(lower, world.name("hi"))
    writer.create_link(Link("macvlan", LinkEnd("eth0", space), options={"link": lower}), 0)
    netdev = made("eth0", space)
    assert (netdev.kind, netdev.peer_index) == ("macvlan", made(lower).index)


@pytest.mark.parametrize(("kind", "options"), [("dummy", {}), ("vlan", {"link": "lo", "id": 5})])
def test_a_kind_that_the_kernel_lacks_is_named_with_a_hint(world, writer, kind, options):
    space = world.namespace("h1")
    with netns.inside(space):
        there = subprocess.run(["ip", "link", "add", "probe", "link", "lo", "type", kind, *(["id", "5"] if options else [])],
                               capture_output=True, check=False).returncode == 0  # fmt: skip
    if there:
        pytest.skip(f"this kernel has {kind}")
    with pytest.raises(FeatureMissing, match=f"'{kind}'.*CONFIG"):
        writer.create_link(Link(kind, LinkEnd("x", space), options=options), 0)


def test_a_refusal_says_what_was_attempted_where_and_why(world, writer):
    space = world.namespace("h1")
    with pytest.raises(KernelError, match=f"create the vxlan netdev 'x' in the network namespace '{space}'.*\n.*16777216"):
        writer.create_link(Link("vxlan", LinkEnd("x", space), options={"id": 1 << 25}), 0)
    writer.create_link(Link("bridge", LinkEnd("x", space)), 0)
    with pytest.raises(KernelError, match="File exists"):
        writer.create_link(Link("bridge", LinkEnd("x", space)), 0)
    with pytest.raises(KernelError, match="'nowhere'"):
        writer.create_link(Link("bridge", LinkEnd("x", "nowhere")), 0)


def test_a_link_whose_alias_is_refused_is_taken_away_again(world, writer):
    space = world.namespace("h1")
    with pytest.raises(KernelError):
        writer.create_link(Link("bridge", LinkEnd("x", space)), 0, "a" * 300)
    assert "x" not in rtnl.links(space)


def test_a_maker_refuses_to_work_from_another_thread(world, writer):
    import threading

    refusals = []

    def work():
        try:
            writer.create_link(Link("bridge", LinkEnd("x", space)), 0)
        except RuntimeError as refusal:
            refusals.append(refusal)

    space = world.namespace("h1")
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(refusals) == 1


def test_a_configured_end_has_its_addresses_and_routes_and_a_second_time_changes_nothing(world, writer):
    h1 = world.namespace("h1")
    writer.create_link(Link("veth", LinkEnd("eth0", h1), LinkEnd("other", h1)), 0)
    end = LinkEnd("eth0", h1, ("10.0.0.1/24", "FD00::1/64"), (Route("default", "10.0.0.254"), Route("10.9.1.7/16", "10.8.0.1"),
                  Route("10.8.0.0/24"), Route("default", "fd00::ff")))  # fmt: skip
    assert len(netlink.configure(end)) == 6
    state = rtnl.end("eth0", h1)
    assert {entry.address for entry in state.addresses if not entry.automatic} == {"10.0.0.1/24", "fd00::1/64"}
    assert {(entry.to, entry.via) for entry in state.routes} == {
        ("0.0.0.0/0", "10.0.0.254"), ("10.9.0.0/16", "10.8.0.1"), ("10.8.0.0/24", None), ("::/0", "fd00::ff")}  # fmt: skip
    assert netlink.configure(end) == []
    assert rtnl.ends(h1)["eth0"] == state


def test_changes_are_done_and_undone(world, writer):
    h1 = world.namespace("h1")
    writer.create_link(Link("veth", LinkEnd("eth0", h1), LinkEnd("other", h1)), 0)
    gateways = (Route("default", "10.0.0.254"),), (Route("default", "10.0.0.253"),)
    old = LinkEnd("eth0", h1, ("10.0.0.1/24", "10.0.0.2/24", "fd00::1/64"), gateways[0], 1500, "02:00:00:00:00:01")
    new = LinkEnd("eth0", h1, ("10.0.0.2/24", "10.0.0.3/24"), gateways[1], 1400, "02:00:00:00:00:02")
    netlink.configure(old)
    changes = linkspec.diff_end(new, rtnl.end("eth0", h1))
    assert [change.field for change in changes] == ["mtu", "mac", "address", "address", "address", "route", "route"]
    netlink.apply_changes("eth0", h1, changes)
    assert linkspec.diff_end(new, rtnl.end("eth0", h1)) == [], "the primary address went; the secondary must be back"
    netlink.apply_changes("eth0", h1, [change.undo() for change in changes])
    assert linkspec.diff_end(old, rtnl.end("eth0", h1)) == []


def test_a_link_that_goes_down_and_up_again_gets_back_what_the_kernel_took(world, writer):
    h1 = world.namespace("h1")
    writer.create_link(Link("veth", LinkEnd("eth0", h1), LinkEnd("other", h1)), 0)
    end = LinkEnd("eth0", h1, ("10.0.0.1/24", "fd00::1/64"), (Route("default", "10.0.0.254"),))
    netlink.configure(end)
    down = LinkEnd("eth0", h1, end.addresses, end.routes, up=False)
    assert [str(change) for change in netlink.configure(down)] == ["up yes -> no"]
    assert netlink.configure(down) == []
    assert rtnl.end("eth0", h1).routes == ()
    netlink.configure(end)
    assert linkspec.diff_end(end, rtnl.end("eth0", h1)) == []


def test_changes_that_fail_half_way_leave_everything_as_it_was(world, writer):
    h1 = world.namespace("h1")
    writer.create_link(Link("veth", LinkEnd("eth0", h1), LinkEnd("other", h1)), 0)
    netlink.configure(LinkEnd("eth0", h1, ("10.0.0.1/24", "10.0.0.2/24"), (Route("default", "10.0.0.254"),)))
    before = rtnl.end("eth0", h1)
    impossible = Change("route", None, Route("10.5.0.0/16", "172.16.0.1"))
    changes = [Change("mtu", 1500, 1400), Change("address", "10.0.0.1/24", None), impossible]
    with pytest.raises(KernelError, match=r"add the route 10\.5\.0\.0/16 via 172\.16\.0\.1 through 'eth0'"):
        netlink.apply_changes("eth0", h1, changes)
    after = rtnl.end("eth0", h1)
    assert after.netdev == before.netdev
    assert set(after.addresses) == set(before.addresses)
    assert after.routes == before.routes


def test_adding_what_is_there_and_removing_what_is_gone_is_no_error(world, writer):
    h1 = world.namespace("h1")
    writer.create_link(Link("veth", LinkEnd("eth0", h1), LinkEnd("other", h1)), 0)
    for _ in range(2):
        linkwrite.add_address("eth0", h1, "10.0.0.1/24")
        linkwrite.add_address("eth0", h1, "fd00::1/64")
        linkwrite.add_route("eth0", h1, Route("10.5.0.0/16", "10.0.0.9"))
        linkwrite.add_route("eth0", h1, Route("fd05::/16", "fd00::9"))
    for _ in range(2):
        linkwrite.remove_route("eth0", h1, Route("10.5.0.0/16", "10.0.0.9"))
        linkwrite.remove_route("eth0", h1, Route("fd05::/16", "fd00::9"))
        linkwrite.remove_address("eth0", h1, "10.0.0.1/24")
        linkwrite.remove_address("eth0", h1, "fd00::1/64")
    assert rtnl.routes(h1) == []
    assert [entry for entry in rtnl.addresses(h1) if not entry.automatic] == []


def test_an_address_or_route_that_is_there_differently_is_an_error(world, writer):
    h1 = world.namespace("h1")
    writer.create_link(Link("veth", LinkEnd("eth0", h1), LinkEnd("other", h1)), 0)
    linkwrite.add_address("eth0", h1, "10.0.0.1/24")
    linkwrite.add_address("eth0", h1, "fd00::1/64")
    linkwrite.add_route("eth0", h1, Route("10.5.0.0/16", "10.0.0.9"))
    with pytest.raises(KernelError, match="fd00::1/80"):
        linkwrite.add_address("eth0", h1, "fd00::1/80")
    with pytest.raises(KernelError, match="File exists"):
        linkwrite.add_route("eth0", h1, Route("10.5.0.0/16", "10.0.0.8"))


def test_an_ipv6_address_works_at_once_where_ipv6_was_off(world):
    h1, h2 = world.host("h1", "fd00::1/64"), world.host("h2", "fd00::2/64")
    bridge = world.name("br")
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    try:
        for name in (h1.port, h2.port):
            subprocess.run(["ip", "link", "set", name, "master", bridge], check=True)
        subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
        assert ping(h1.netns, "fd00::2", 2, timeout=3) == 2
    finally:
        subprocess.run(["ip", "link", "del", bridge], check=True)


def test_what_routing_daemons_and_the_kernel_do_is_not_drift(world, writer):
    h1 = world.namespace("h1")
    writer.create_link(Link("veth", LinkEnd("eth0", h1), LinkEnd("other", h1)), 0)
    end = LinkEnd("eth0", h1, ("10.0.0.1/24", "fd00::1/64"))
    netlink.configure(end)
    with netns.inside(h1):
        lease = "addr add 10.1.1.1/24 dev eth0 valid_lft 100 preferred_lft 100"
        for words in ("route add 10.77.0.0/16 via 10.0.0.2 proto bird", lease):
            subprocess.run(["ip", *words.split()], check=True)
    assert linkspec.diff_end(end, rtnl.end("eth0", h1)) == []
    with netns.inside(h1):
        for words in ("route add 10.78.0.0/16 via 10.0.0.2", "addr add 10.2.2.2/24 dev eth0"):
            subprocess.run(["ip", *words.split()], check=True)
    assert [str(change) for change in linkspec.diff_end(end, rtnl.end("eth0", h1))] == [
        "- address 10.2.2.2/24", "- route 10.78.0.0/16 via 10.0.0.2"]  # fmt: skip


def test_a_group_is_deleted_but_only_what_was_named_and_is_ours(world, writer):
    h1 = world.namespace("h1")
    for name, group in (("a", 1000), ("b", 1000), ("kept", 1000), ("foreign", 5), ("c", 1000)):
        writer.create_link(Link("veth", LinkEnd(name, h1), LinkEnd(f"p{name}", h1)), group)
    assert netlink.delete_group(1000, ["a", "b", "pb", "foreign", "absent", "c"], h1) == ["a", "b", "pb", "c"]
    left = {name for name, netdev in rtnl.links(h1).items() if netdev.kind == "veth"}
    assert left == {"kept", "pkept", "foreign", "pforeign"}


def test_links_that_a_killed_deletion_left_in_its_scratch_group_are_still_ours(world, writer):
    h1 = world.namespace("h1")
    writer.create_link(Link("bridge", LinkEnd("a", h1)), 1000)
    writer.create_link(Link("bridge", LinkEnd("b", h1)), 1000)
    writer.create_link(Link("bridge", LinkEnd("stranger", h1)), 1000)
    linkwrite.set_link("a", h1, group=1003)
    linkwrite.set_link("stranger", h1, group=1003)
    assert made("a", h1).group in netlink.owned_groups(1000)
    assert netlink.delete_group(1000, ["a", "b"], h1) == ["a", "b"]
    assert "stranger" in rtnl.links(h1)


def test_three_hundred_veths_go_within_a_second(world, writer):
    h1, h2 = world.namespace("h1"), world.namespace("h2")
    names = [f"v{number}" for number in range(300)]
    for name in names:
        writer.create_link(Link("veth", LinkEnd(name, h1, up=False), LinkEnd(name, h2, up=False)), 1000)
    begun = time.perf_counter()
    assert netlink.delete_group(1000, names, h1) == names
    assert time.perf_counter() - begun < 1.0
    assert not [name for name in rtnl.links(h2) if name.startswith("v")]


@pytest.mark.serial
def test_a_thousand_links_are_read_in_well_under_a_fifth_of_a_second(world):
    h1 = world.namespace("h1")
    batch = "\n".join(f"link add a{number} type veth peer name b{number}" for number in range(500))
    with netns.inside(h1):
        subprocess.run(["ip", "-batch", "-"], input=batch, text=True, check=True)
    begun = time.thread_time()
    found = rtnl.links(h1)
    assert time.thread_time() - begun < 0.2  # of CPU; 20 ms, and a netlink library takes 215
    assert sum(netdev.kind == "veth" for netdev in found.values()) == 1000


def test_reading_does_not_import_the_netlink_library():
    code = "import sys\nfrom reconciler.kernel import netlink, rtnl\nrtnl.ends()\nassert 'pyroute2' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

"""Rules for links, their addresses and their routes."""
from __future__ import annotations

import pytest

from reconciler.model import Link, LinkEnd, Route
from tests.unit.data.documents import one, problem_of, problems_of, topology


def links(*entries: str, namespaces: str = "[h1, h2]") -> str:
    return topology("\n".join([f"namespaces: {namespaces}", "links:", *(f"- {entry}" for entry in entries)]))


WRONG = [
    ("a veth needs a peer", "«{name: v, kind: veth}", 'required key "peer" is missing', "a veth needs a peer"),
    ("a VLAN id is at most 4094", "{name: v, kind: vlan, link: eth0, id: «4095}", "4095 is more than 4094",
     "a VLAN id is between 1 and 4094"),
    ("a VLAN id is at least 1", "{name: v, kind: vlan, link: eth0, id: «0}", "0 is less than 1",
     "a VLAN id is between 1 and 4094"),
    ("a vxlan id has 24 bits", "{name: v, kind: vxlan, id: «16777216}", "16777216 is more than 16777215", None),
    ("a vlan needs a parent", "«{name: v, kind: vlan, id: 5}", 'required key "link" is missing', None),
    ("an MTU is at least 68", "{name: v, kind: dummy, mtu: «67}", "67 is less than 68", ""),
    ("an MTU is at most 65535", "{name: v, kind: dummy, mtu: «65536}", "65536 is more than 65535", ""),
    ("a misspelt kind", "{name: v, kind: «dumy}", None, 'did you mean "dummy"?'),
    ("a namespace that nobody has", "{name: v, kind: dummy, netns: «h3}", 'no topology has a network namespace "h3"',
     'did you mean "h2"?'),
    ("a namespace of a peer", "{name: v, kind: veth, peer: {name: w, netns: «outer}}",
     'no topology has a network namespace "outer"', "list it under spec.namespaces"),
    ("a name of 16 characters", "{name: «abcdefghijklmnop, kind: dummy}", None, ""),
    ("on itself", "{name: v, kind: vlan, id: 5, link: «v}", '"v" is on itself', ""),
    ("a parent in an empty namespace", "{name: v, kind: vlan, id: 5, netns: h1, link: «eth0}",
     'network namespace "h1" has no device "eth0"', ""),
    ("tunnel ends of two families", "{name: v, kind: vxlan, id: 5, local: ‹10.0.0.1, remote: «2001:db8::1}",
     "local and remote are not of one family, IPv4 or IPv6", ""),
    ("a multicast MAC", "{name: v, kind: dummy, mac: «03:00:00:00:00:01}",
     '"03:00:00:00:00:01" is a group\'s address, not a device\'s', "the first byte must be even"),
    ("an address twice", "{name: v, kind: dummy, addresses: [‹10.0.0.1/24, «10.0.0.1/24]}", '"10.0.0.1/24" is listed twice', ""),
    ("a multicast address", "{name: v, kind: dummy, addresses: [«224.0.0.1/24]}",
     '"224.0.0.1/24" cannot be a device\'s address', ""),
    ("an address without a length", "{name: v, kind: dummy, addresses: [«10.0.0.1]}", None, ""),
    ("no address at all", "{name: v, kind: dummy, addresses: [«here]}", None, ""),
    ("a route to an address", "{name: v, kind: dummy, routes: [{to: «10.0.0.1/24}]}",
     '"10.0.0.1/24" is an address, not a prefix: there are bits after the first 24', 'did you mean "10.0.0.0/24"?'),
    ("a route via another family", "{name: v, kind: dummy, addresses: [10.0.0.1/24], routes: [{to: 10.1.0.0/24, via: «fe80::1}]}",
     "a route to 10.1.0.0/24 cannot go via fe80::1: one is IPv4, the other IPv6", ""),
    ("a router out of reach", "{name: v, kind: dummy, addresses: [10.0.0.1/24], routes: [{to: default, via: «10.0.1.1}]}",
     "10.0.1.1 cannot be reached on this device: none of its addresses is in the same network", ""),
    ("two routes to one place", "{name: v, kind: dummy, routes: [‹{to: 10.0.0.0/24}, «{to: 10.0.0.0/24}]}",
     'duplicate entry "10.0.0.0/24"', ""),
    ("two next hops to one place",
     "{name: v, kind: dummy, addresses: [10.0.0.1/24], routes: [‹{to: default, via: 10.0.0.2}, {to: «0.0.0.0/0, via: 10.0.0.3}]}",
     "this device has a route to 0.0.0.0/0 already", ""),
    ("an option of another kind", "{name: v, kind: dummy, «id: 5}", None, ""),
]


@pytest.mark.parametrize(("entry", "message", "hint"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_link_is_one_error_where_it_is_wrong(entry, message, hint):
    problem = problem_of(links(entry))
    assert message is None or problem.message == message
    assert hint is None or problem.hint == hint


def test_two_links_of_one_name_are_an_error_that_names_both():
    assert problem_of(links("‹{name: v, kind: dummy}", "«{name: v, kind: dummy}")).message == 'duplicate link "v"'
    inside = links("‹{name: v, kind: dummy, netns: h1}", "«{name: v, kind: dummy, netns: h1}")
    assert problem_of(inside).message == 'duplicate link "v,h1"'


def test_a_device_is_in_its_namespace_once():
    problem = problem_of(links("{name: v, kind: veth, peer: {name: ‹eth0, netns: h1}}",
                               "{name: w, kind: veth, peer: {name: «eth0, netns: h1}}"))
    assert problem.message == 'network namespace "h1" has a device "eth0" already'


def test_a_device_is_on_the_host_once_whatever_topology_makes_it():
    problem = problem_of(topology("links: [{name: ‹v, kind: dummy}]", "one"), topology("links: [{name: «v, kind: dummy}]", "two"))
    assert problem.message == 'the host has a device "v" already'


def test_a_veth_s_ends_have_different_names_in_one_namespace():
    assert problem_of(links("{name: ‹v, kind: veth, peer: {name: «v}}")).message == 'the host has a device "v" already'


def test_one_name_in_two_namespaces_is_fine():
    assert len(one(links("{name: v, kind: veth, peer: {name: eth0, netns: h1}}",
                         "{name: w, kind: veth, peer: {name: eth0, netns: h2}}")).links) == 2
    assert len(one(links("{name: eth0, netns: h1, kind: veth, peer: {name: v}}", "{name: eth0, kind: dummy}",
                         "{name: eth0, netns: h2, kind: veth, peer: {name: w}}")).links) == 3


def test_a_link_in_a_namespace_is_called_by_both_in_a_problem():
    assert problem_of(links("{name: eth0, netns: h1, kind: dummy, mtu: «1}")).path == "/spec/links/eth0,h1/mtu"


def test_a_namespace_of_another_topology_can_be_used():
    problems = topology("namespaces: [h1]", "one"), topology("links: [{name: v, kind: dummy, netns: «h2}]", "two")
    assert problem_of(*problems).hint == 'did you mean "h1"?'


def test_links_in_a_circle_are_told_once():
    problem = problem_of(links("{name: a, kind: macvlan, link: «b}", "{name: b, kind: macvlan, link: a}"))
    assert problem.message == '"a" is on itself: a on b on a'


def test_a_parent_that_is_in_another_namespace_is_shown():
    problem = problem_of(links("‹{name: b, kind: dummy}", "{name: a, kind: macvlan, netns: h1, link: «b}"))
    assert problem.message == 'network namespace "h1" has no device "b"'


def test_a_link_may_be_on_any_device_of_the_host_and_on_its_own_kind():
    found = one(links("{name: a, kind: vlan, id: 7, link: eth7}", "{name: b, kind: vlan, id: 8, link: a}"))
    assert [link.options for link in found.links] == [{"id": 7, "link": "eth7"}, {"id": 8, "link": "a"}]


def test_all_that_is_wrong_with_a_link_is_told():
    assert len(problems_of(links("{name: v, kind: vlan, id: «9999, link: «.., mtu: «1, «dstport: 1, netns: «h9}"))) == 5


def test_a_good_link_becomes_what_the_model_says():
    found = one(links("""{name: v, kind: veth, mtu: 1400, up: false,
                peer: {name: eth0, netns: h1, mac: "02:00:00:00:00:AA", addresses: [10.0.0.2/24, "2001:DB8::2/64"],
                       routes: [{to: default, via: 10.0.0.1}, {to: 10.9.0.0/16}, {to: "2001:db8:9::/48", via: "fe80::1"}]}}""",
                      "{name: x, kind: vxlan, id: 42, remote: 192.0.2.1}", "{name: m, kind: macvlan, link: v}"))
    routes = Route("default", "10.0.0.1"), Route("10.9.0.0/16"), Route("2001:db8:9::/48", "fe80::1")
    end = LinkEnd("eth0", "h1", ("10.0.0.2/24", "2001:db8::2/64"), routes, None, "02:00:00:00:00:aa")
    assert found.links == (
        Link("veth", LinkEnd("v", mtu=1400, up=False), end),
        Link("vxlan", LinkEnd("x"), None, {"id": 42, "remote": "192.0.2.1", "dstport": 4789}),
        Link("macvlan", LinkEnd("m"), None, {"link": "v", "mode": "bridge"}),
    )


def test_a_router_that_another_route_reaches_is_fine():
    routes = "[{to: 10.9.9.9/32}, {to: default, via: 10.9.9.9}]"
    found = one(links(f"{{name: v, kind: dummy, addresses: [10.0.0.1/32], routes: {routes}}}"))
    assert found.links[0].end.routes[1].via == "10.9.9.9"

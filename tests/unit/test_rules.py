"""Every rule about the graph, with the exact place that it points at."""
from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest

from reconciler.check import check
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from tests.unit.data.documents import checked, one, problem_of, problems_of, stand_in, topology

HUBS = """
cubes:
- name: a
  service-name: hub
  ports:
  - {name: p, peer: %s}
- %sname: b
  service-name: hub
  ports:
  - {name: q%s}
"""

PEERS = [
    ("unknown cube", HUBS % ("«c:q", "", ""), 'no such cube "c"', ""),
    ("misspelt cube", HUBS.replace("name: b", "name: bridge") % ("«brigde:q", "", ""),
     'no such cube "brigde"', 'did you mean "bridge"?'),
    ("unknown port", HUBS % ("«b:qq", "‹", ""), 'no such port "qq" on cube "b"', 'did you mean "q"?'),
    ("itself", HUBS % ("«a:p", "", ""), '"a:p" is joined to itself', ""),
    ("two names in one", HUBS % ('«"b:q:r"', "", ""), None, ""),
    ("long netdev", HUBS % ("«averylongdevice1", "", ""), None, ""),
    ("netdev of dots", HUBS % ("«..", "", ""),
     "\"..\" cannot be the name of a network device: it is '.' or '..', or has a space, '/' or ':' in it", ""),
    ("long netdev in bytes", HUBS % ("«äöüäöüäöü", "", ""),
     '"äöüäöüäöü" cannot be the name of a network device: it has more than 15 bytes', ""),
    ("sides that disagree", HUBS % ("«b:q", "", ", peer: ‹veth9"),
     '"a:p" names "b:q" as its peer, but the peer of that is "veth9"', ""),
]


@pytest.mark.parametrize(("spec", "message", "hint"), [case[1:] for case in PEERS], ids=[case[0] for case in PEERS])
def test_a_wrong_peer_is_an_error_at_the_peer(spec, message, hint):
    problem = problem_of(topology(spec))
    assert message is None or problem.message == message
    assert problem.hint == hint
    assert problem.path == "/spec/cubes/a/ports/p/peer"


def test_two_sides_that_both_disagree_are_told_once_each():
    problems = problems_of(topology("""
        cubes:
        - {name: a, service-name: hub, ports: [{name: p, peer: «b:q}, {name: x}]}
        - {name: b, service-name: hub, ports: [{name: q, peer: ‹a:x}]}
        """))
    assert problems[0].message == '"a:p" names "b:q" as its peer, but the peer of that is "a:x"'


def test_a_port_cannot_be_joined_to_another_port_of_its_cube():
    ports = "[{name: p, peer: «a:q}, {name: q, peer: «a:p}]"
    problems = problems_of(topology(f"cubes:\n- {{name: a, service-name: hub, ports: {ports}}}"))
    assert {problem.message for problem in problems} == {'"a:p" is joined to another port of the same cube',
                                                         '"a:q" is joined to another port of the same cube'}


def test_a_peer_that_is_a_transparent_cube_is_an_error():
    problem = problem_of(topology("""
        cubes:
        - {name: a, service-name: hub, ports: [{name: p, peer: «w:p}]}
        - {name: w, service-name: wall}
        """))
    assert (problem.message, problem.hint) == ('"w" is a transparent cube: it has no ports', "list it under tcubes")


def test_a_netdev_is_the_peer_of_one_port_only():
    problem = problem_of(topology("""
        cubes:
        - {name: a, service-name: hub, ports: [{name: p, peer: ‹veth1}]}
        - {name: b, service-name: hub, ports: [{name: q, peer: «veth1}]}
        """))
    assert problem.message == 'netdev "veth1" is the peer of "a:p" already'
    assert problem.path == "/spec/cubes/b/ports/q/peer"


def test_a_port_is_the_peer_of_one_port_only():
    problem = problem_of(topology("""
        cubes:
        - {name: a, service-name: hub, ports: [{name: p, peer: ‹c:x}]}
        - {name: b, service-name: hub, ports: [{name: q, peer: «c:x}]}
        - {name: c, service-name: hub, ports: [{name: x}]}
        """))
    assert problem.message == 'port "c:x" is the peer of "a:p" already'


def test_a_netdev_may_be_the_peer_of_one_port_in_one_topology_only():
    problem = problem_of(topology("cubes: [{name: a, service-name: hub, ports: [{name: p, peer: ‹veth1}]}]", "one"),
                         topology("cubes: [{name: b, service-name: hub, ports: [{name: q, peer: «veth1}]}]", "two"))
    assert problem.message == 'netdev "veth1" is the peer of "a:p" already'


@pytest.mark.parametrize("hooks", [("TC", "XDP_SKB"), ("XDP_SKB", "XDP_DRV"), ("XDP_DRV", "TC")])
def test_cubes_of_different_hooks_cannot_be_joined(hooks):
    problem = problem_of(topology(f"""
        cubes:
        - {{name: a, service-name: hub, type: {hooks[0]}, ports: [{{name: p, peer: «b:q}}]}}
        - ‹{{name: b, service-name: hub, type: {hooks[1]}, ports: [{{name: q}}]}}
        """))
    assert problem.message == f'"a" is a {hooks[0]} cube, "b" a {hooks[1]} cube: they cannot be joined'


def test_a_peer_named_from_one_side_is_the_peer_of_both():
    found = one(topology("""
        cubes:
        - {name: a, service-name: hub, ports: [{name: p, peer: b:q}]}
        - {name: b, service-name: hub, ports: [{name: q, role: TRUNK}]}
        """))
    both = one(topology("""
        cubes:
        - {name: a, service-name: hub, ports: [{name: p, peer: b:q}]}
        - {name: b, service-name: hub, ports: [{name: q, peer: a:p, role: TRUNK}]}
        """))
    assert found.cubes[1].ports[0].peer == "a:p"
    assert found == both
    assert list(found.document["spec"]["cubes"][1]["ports"][0]) == ["name", "peer", "role"]


def test_a_peer_in_another_topology_is_made_symmetric_too():
    found, _ = checked(topology("cubes: [{name: a, service-name: hub, ports: [{name: p, peer: b:q}]}]", "one"),
                       topology("cubes: [{name: b, service-name: hub, ports: [{name: q}]}]", "two"))
    assert [each.cubes[0].ports[0].peer for each in found] == ["b:q", "a:p"]


def test_a_netdev_that_nobody_has_made_is_no_error():
    assert one(topology("cubes: [{name: a, service-name: hub, ports: [{name: p, peer: eth9}]}]")).cubes[0].ports[0].peer == "eth9"


def test_a_port_without_a_peer_is_no_error():
    assert one(topology("cubes: [{name: a, service-name: hub, ports: [{name: p}]}]")).cubes[0].ports[0].peer is None


NAMES = [
    ("a cube's", "cubes: [{name: «_a, service-name: hub}]", '"_a" cannot be the name of a cube'),
    ("a long cube's", f"cubes: [{{name: «{'a' * 64}, service-name: hub}}]", f'"{"a" * 57}…" cannot be the name of a cube'),
    ("a port's", "cubes: [{name: a, service-name: hub, ports: [{name: «_p}]}]", '"_p" cannot be the name of a port'),
    ("a link's", "links: [{name: «.., kind: dummy}]", None),
    ("a peer's", 'links: [{name: v, kind: veth, peer: {name: «"..\"}}]', None),
    ("a link's parent", "links: [{name: v, kind: macvlan, link: «..}]", None),
    ("an attachment's", "attachments: [{netdev: «.., tcubes: [w]}]\ncubes: [{name: w, service-name: wall}]", None),
    ("a namespace's", 'namespaces: [«"h\\x1b1"]', '"h\x1b1" cannot be the name of a network namespace'),
]


@pytest.mark.parametrize(("spec", "message"), [case[1:] for case in NAMES], ids=[case[0] for case in NAMES])
def test_a_name_that_cannot_be_used_is_an_error_at_the_name(spec, message):
    problem = problem_of(topology(spec))
    assert message is None or problem.message == message


@pytest.mark.parametrize("name", ["«../etc", "«a b", "«-rf", '«"$(reboot)"', "«.hidden", '«""', "«a/b", '«"a\\n"'])
@pytest.mark.parametrize("spec", [
    "cubes: [{name: %s, service-name: hub}]", "cubes: [{name: c, service-name: hub, ports: [{name: %s}]}]"])
def test_a_name_that_a_path_or_a_shell_could_mistake_is_refused(spec, name):
    problem_of(topology(spec % name))


def test_a_topology_needs_a_usable_name():
    problem = problem_of(topology("cubes: []", "«_t"))
    assert (problem.path, problem.message) == ("/metadata/name", '"_t" cannot be the name of a topology')


def test_one_cube_in_two_topologies_is_an_error_that_names_both():
    problem = problem_of(topology("cubes: [‹{name: a, service-name: hub}]", "one"),
                         topology("cubes: [«{name: a, service-name: hub}]", "two"))
    assert problem.message == 'cube "a" is in another topology already'


def test_one_namespace_in_two_topologies_is_an_error_that_names_both():
    problem = problem_of(topology("namespaces: [‹h1]", "one"), topology("namespaces: [«h1]", "two"))
    assert problem.message == 'namespace "h1" is in another topology already'


def test_one_netdev_with_attachments_in_two_topologies_is_an_error():
    problem = problem_of(
        topology("attachments: [{netdev: ‹eth0, tcubes: [v]}]\ncubes: [{name: v, service-name: wall}]", "one"),
        topology("attachments: [{netdev: «eth0, tcubes: [w]}]\ncubes: [{name: w, service-name: wall}]", "two"))
    assert problem.message == 'netdev "eth0" is in another topology already'


def test_one_netdev_with_two_attachments_is_an_error():
    problem = problem_of(topology("""
        attachments:
        - ‹{netdev: eth0, tcubes: [v]}
        - «{netdev: eth0, tcubes: [w]}
        cubes:
        - {name: v, service-name: wall}
        - {name: w, service-name: wall}
        """))
    assert problem.message == 'duplicate netdev "eth0"'


def test_two_cubes_of_one_name_are_an_error_that_names_both():
    problem = problem_of(topology("cubes:\n- ‹{name: a, service-name: hub}\n- «{name: a, service-name: hub}"))
    assert problem.message == 'duplicate cube "a"'


def test_more_ports_than_a_service_has_are_one_error():
    problem = problem_of(topology("cubes: [{name: a, service-name: hub, ports: «[{name: p}, {name: q}, {name: r}, {name: s}]}]"))
    assert problem.message == "expected at most 3 entries, found 4"


def test_more_ports_than_a_service_says_are_an_error_even_if_its_schema_does_not_count():
    hub = stand_in("hub")
    schema = deepcopy(hub.schema)
    del schema["properties"]["ports"]["maxItems"]
    services = SimpleNamespace(get=lambda _: replace(hub, schema=schema), names=lambda: ["hub"], stamps=tuple)
    ports = "[{name: p}, {name: q}, {name: r}, {name: s}]"
    (document,) = parse(topology(f"cubes: [{{name: a, service-name: hub, ports: {ports}}}]"), "f")
    with pytest.raises(DocumentError) as caught:
        check([document], services)
    (problem,) = caught.value.problems
    assert (problem.message, problem.path) == ('"a" has 4 ports; a hub has at most 3', "/spec/cubes/a/ports")


REFERENCES = [
    ("a leaf", "table: {entry: [{address: 02:00:00:00:00:01, port: «q}]}"),
    ("a list key", "forward: [{inport: «q, action: DROP}]"),
    ("beside a key", "forward: [{inport: p, action: FORWARD, outport: «q}]"),
    ("a leaf-list", "mirror: {to: [p, «q]}"),
]


@pytest.mark.parametrize("leaf", [case[1] for case in REFERENCES], ids=[case[0] for case in REFERENCES])
def test_a_leaf_that_names_a_port_must_name_one_of_its_cube(leaf):
    problem = problem_of(topology(f"cubes:\n- ‹name: c\n  service-name: hub\n  ports: [{{name: p}}]\n  {leaf}"))
    assert problem.message == '"c" has no port "q"'


def test_references_to_ports_that_are_there_are_fine():
    leaves = "table: {entry: [{address: 02:00:00:00:00:01, port: p}]}\n  mirror: {to: [p]}"
    assert one(topology(f"cubes:\n- name: c\n  service-name: hub\n  ports: [{{name: p}}]\n  {leaves}"))

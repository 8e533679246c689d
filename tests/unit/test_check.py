"""What the schemas have against a document, in words, at the exact place."""
from __future__ import annotations

import pytest

from reconciler.document.load import parse
from reconciler.errors import DocumentError
from tests.unit.data.documents import StandIns, checked, cube, one, problem_of, problems_of, topology

CUBE = [
    ("an unknown key", "«lable: ab", 'unknown key "lable"', 'did you mean "label"?', "/lable"),
    ("an unknown key like nothing", "«zzzz: 1", 'unknown key "zzzz"', "", "/zzzz"),
    ("an unknown key deep inside", "table: {entry: [{address: 02:00:00:00:00:01, port: p, «prt: p}]}\nports: [{name: p}]",
     'unknown key "prt"', 'did you mean "port"?', "/table/entry/02:00:00:00:00:01/prt"),
    ("state", "table: {entry: [{address: 02:00:00:00:00:01, port: p, «age: 5}]}\nports: [{name: p}]",
     'unknown key "age"', "it is read-only state; leave it out", "/table/entry/02:00:00:00:00:01/age"),
    ("no such value", "type: «TCP", '"TCP" is not one of TC, XDP_SKB, XDP_DRV', 'did you mean "TC"?', "/type"),
    ("no such value in a list", "forward: [{inport: p, action: «DENY}]\nports: [{name: p}]",
     '"DENY" is not one of DROP, SLOWPATH, FORWARD', "", "/forward/p/action"),
    ("more than a maximum", "table: {aging-time: «4294967296}", "4294967296 is more than 4294967295", "", "/table/aging-time"),
    ("less than a minimum", "table: {aging-time: «-1}", "-1 is less than 0", "", "/table/aging-time"),
    ("out of a 64-bit number's range", 'quota: «"18446744073709551616"',
     "18446744073709551616 is more than 18446744073709551615", "", "/quota"),
    ("in a gap between ranges", "burst: «50", "50 is not in 1..9, 90..99", "", "/burst"),
    ("of no member of a union", "speed: «autp", '"autp" is not valid: expected a whole number, 1..100, or one of auto, none',
     'did you mean "auto"?', "/speed"),
    ("of no type of a union", "speed: «[]", "expected a whole number, 1..100, or one of auto, none, found a list", "", "/speed"),
    ("too big for a union", "speed: «101", "101 is more than 100", "", "/speed"),
    ("too long", "label: «abcdefghijklm", '"abcdefghijklm" is not valid: expected at most 12 characters', "", "/label"),
    ("too short", "label: «a", '"a" is not valid: expected at least 2 characters', "", "/label"),
    ("not like its pattern", "ports: [{name: p, mac: «02:00}]",
     '"02:00" is not valid: expected a MAC address, such as 02:00:00:00:00:01', "", "/ports/p/mac"),
    ("a missing key", "table: {entry: [«{address: 02:00:00:00:00:01}]}", 'required key "port" is missing', "",
     "/table/entry/02:00:00:00:00:01"),
    ("a key that another value needs", "forward: [«{inport: p, action: FORWARD}]\nports: [{name: p}]",
     'required key "outport" is missing', "an action FORWARD needs an outport", "/forward/p"),
    ("text for a number", "table: {aging-time: «soon}", 'expected a whole number, found text ("soon")', "", "/table/aging-time"),
    ("a quoted number", 'table: {aging-time: «"30"}', 'expected a whole number, found text ("30")',
     "write it without quotes and leading zeros", "/table/aging-time"),
    ("an old octal number", "table: {aging-time: «030}", 'expected a whole number, found text ("030")',
     "write it without quotes and leading zeros", "/table/aging-time"),
    ("a broken number", "table: {aging-time: «1.5}", "expected a whole number, found 1.5", "", "/table/aging-time"),
    ("an old boolean", "enabled: «yes", 'expected true or false, found text ("yes")', "YAML 1.2 has only true and false",
     "/enabled"),
    ("a number for a boolean", "enabled: «1", "expected true or false, found 1", "", "/enabled"),
    ("a boolean for a number", "table: {aging-time: «true}", "expected a whole number, found true", "", "/table/aging-time"),
    ("a mapping for a list", "ports: «{p: veth1}", "expected a list, found a mapping", "start each entry with '- '", "/ports"),
    ("a list for a mapping", "table: «[300]", "expected a mapping, found a list", "", "/table"),
    ("a mapping for text", "label: «{a: b}", "expected text, found a mapping", "", "/label"),
    ("nothing for text", "label:«", "expected text, found no value", "write a value, or leave the key out", "/label"),
    ("nothing for a list", "ports: «~", "expected a list, found no value", "write a value, or leave the key out", "/ports"),
    ("text for a list entry", "ports: [«p1]", 'expected a mapping, found text ("p1")', "", "/ports/[0]"),
    ("two equal keys",
     ("ports: [{name: p}]\n"
      "table: {entry: [‹{address: 02:00:00:00:00:AA, port: p}, «{address: '02:00:00:00:00:aa', port: p}]}"),
     'duplicate entry "02:00:00:00:00:aa"', "", "/table/entry/02:00:00:00:00:aa"),
    ("two equal keys of two leaves",
     "route:\n- ‹{network: 10.0.0.9/24, nexthop: 10.1.0.1}\n- «{network: 10.0.0.0/24, nexthop: 10.1.0.1}",
     'duplicate entry "10.0.0.0/24,10.1.0.1"', "", "/route/10.0.0.0/24,10.1.0.1"),
    ("two equal ports", "ports: [‹{name: p}, «{name: p}]", 'duplicate port "p"', "", "/ports/p"),
    ("two equal values", "mirror: {to: [‹p, «p]}\nports: [{name: p}]", '"p" is listed twice', "", "/mirror/to/[1]"),
]


@pytest.mark.parametrize(("leaf", "message", "hint", "path"), [case[1:] for case in CUBE], ids=[case[0] for case in CUBE])
def test_what_does_not_fit_the_model_is_said_where_it_is(leaf, message, hint, path):
    problem = problem_of(cube(leaf))
    assert (problem.message, problem.hint, problem.path) == (message, hint, "/spec/cubes/c" + path)


FRAME = [
    ("a misspelt key", "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec: {}\n«spce: {}",
     'unknown key "spce"', 'did you mean "spec"?', "/spce"),
    ("another version", "apiVersion: «polycube.network/v2\nkind: Topology\nmetadata: {name: t}\nspec: {}",
     '"polycube.network/v2" is not polycube.network/v1', 'did you mean "polycube.network/v1"?', "/apiVersion"),
    ("another kind", "apiVersion: polycube.network/v1\nkind: «Pod\nmetadata: {name: t}\nspec: {}", '"Pod" is not Topology', "",
     "/kind"),
    ("no name", "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: «{}\nspec: {}", 'required key "name" is missing', "",
     "/metadata"),
    ("no spec", "«apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}", 'required key "spec" is missing', "",
     ""),
    ("no metadata", "«apiVersion: polycube.network/v1\nkind: Topology\nspec: {}", 'required key "metadata" is missing', "",
     ""),
    ("text", "«hello",
     "this is no topology: a document is a mapping with apiVersion, kind, metadata and spec, or a list of cubes", "", ""),
    ("an unknown service", topology("cubes: [{name: a, service-name: «hubb}]"), 'unknown service "hubb"', 'did you mean "hub"?',
     "/spec/cubes/a/service-name"),
    ("a service like no other", topology("cubes: [{name: a, service-name: «dynmonitor}]"), 'unknown service "dynmonitor"',
     "there are hub, wall; --services DIR has more", "/spec/cubes/a/service-name"),
    ("no service", topology("cubes: [«{name: a}]"), 'required key "service-name" is missing', "", "/spec/cubes/a"),
    ("a cube without a name", topology("cubes: [«{service-name: hub}]"), 'required key "name" is missing', "", "/spec/cubes/[0]"),
    ("a cube that is text", topology("cubes: [«hub]"), 'expected a mapping, found text ("hub")', "", "/spec/cubes/[0]"),
    ("cubes that are a mapping", topology("cubes: «{a: hub}"), "expected a list, found a mapping",
     "start each entry with '- '", "/spec/cubes"),
    ("a namespace twice", topology("namespaces: [‹h1, «h1]"), '"h1" is listed twice', "", "/spec/namespaces/[1]"),
    ("an attachment of nothing", topology("attachments: [{netdev: eth0, tcubes: «[]}]"), "expected at least 1 entry, found 0", "",
     "/spec/attachments/eth0/tcubes"),
]


@pytest.mark.parametrize(("text", "message", "hint", "path"), [case[1:] for case in FRAME], ids=[case[0] for case in FRAME])
def test_what_is_wrong_around_the_cubes_is_said_where_it_is(text, message, hint, path):
    problem = problem_of(text)
    assert (problem.message, problem.hint, problem.path) == (message, hint, path)


def test_all_problems_are_told_in_the_order_of_the_text():
    text = topology("""
        namspaces: [a]
        links:
        - {name: v, kind: dummy, mtu: 1}
        cubes:
        - {name: a, service-name: hub, lable: x, ports: [{name: p, peer: b:q, mac: x}]}
        - {service-name: hub, labl: x}
        """)
    with pytest.raises(DocumentError) as caught:
        checked(text)
    places = [(problem.where.line, problem.where.column) for problem in caught.value.problems]
    assert places == sorted(places)
    assert len(places) == 7


def test_problems_of_several_documents_come_in_the_order_of_the_documents():
    bad = "cubes: [{name: %s, service-name: «no}]"
    problems = problems_of(topology(bad % "b", "two"), topology(bad % "a", "one"))
    assert [problem.where.file for problem in problems] == ["f0.yaml", "f1.yaml"]


def test_a_hundred_problems_are_all_in_the_error():
    rules = "".join(f"      - {{id: {number}, action: NO}}\n" for number in range(100))
    with pytest.raises(DocumentError) as caught:
        checked(topology(f"cubes:\n- name: w\n  service-name: wall\n  chain:\n  - name: INGRESS\n    rule:\n{rules}"))
    assert len(caught.value.problems) == 100
    assert caught.value.problems[7].path == "/spec/cubes/w/chain/INGRESS/rule/7/action"


def test_two_documents_of_one_name_are_an_error_that_names_both():
    problem = problem_of(topology("cubes: []", "‹t"), topology("cubes: []", "«t"))
    assert problem.message == 'there are two documents of topology "t"'
    assert problem.hint == "to make one topology of them, use --merge"


def test_two_documents_of_one_file_can_be_two_topologies():
    found, _ = checked(topology("cubes: []", "a") + "---\n" + topology("cubes: []", "b"))
    assert [each.name for each in found] == ["a", "b"]


def test_an_empty_topology_is_a_topology():
    found = one(topology("", "t").replace("spec:", "spec: {}"))
    assert (found.name, found.cubes, found.links) == ("t", (), ())
    assert found.document == {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "t"}, "spec": {}}


def test_a_document_is_not_changed_by_being_checked():
    text = topology("cubes: [{name: a, service-name: hub, type: tc, ports: [{name: p, mac: 02:00:00:00:00:AA}]}]")
    (document,) = parse(text, "f")
    before = repr(document.data)
    from reconciler.check import check

    check([document], StandIns())
    assert repr(document.data) == before

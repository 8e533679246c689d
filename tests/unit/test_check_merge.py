"""Several documents of one topology (`--merge`)."""
from __future__ import annotations

from tests.unit.data.documents import checked, one, problem_of, problems_of, topology


def test_documents_of_one_name_are_one_topology():
    found = one(
        topology("namespaces: [h1]\nlinks: [{name: v, kind: dummy}]\ncubes: [{name: a, service-name: hub, ports: [{name: p}]}]"),
        topology("namespaces: [h2, h1]\ncubes: [{name: b, service-name: hub, ports: [{name: q, peer: a:p}]}]"),
        merge=True)
    assert (found.namespaces, len(found.links), [cube.name for cube in found.cubes]) == (("h1", "h2"), 1, ["a", "b"])
    assert found.cubes[0].ports[0].peer == "b:q"


def test_a_cube_can_be_said_in_several_documents():
    found = one(
        topology("cubes: [{name: w, service-name: wall, chain: [{name: INGRESS, rule: [{id: 1, action: DROP}]}]}]"),
        topology("cubes:\n- name: w\n  conntrack: OFF\n  chain:\n"
                 "  - {name: EGRESS}\n  - {name: INGRESS, rule: [{id: 2}, {id: 1, dport: 9}]}"),
        merge=True)
    assert found.document["spec"]["cubes"] == [{
        "name": "w", "service-name": "wall", "conntrack": "OFF",
        "chain": [{"name": "INGRESS", "rule": [{"id": 1, "dport": 9, "action": "DROP"}, {"id": 2}]}, {"name": "EGRESS"}]}]


def test_the_order_of_the_documents_does_not_matter_to_what_is_merged():
    one_, other = topology("cubes: [{name: a, service-name: hub}]"), topology("cubes: [{name: a, label: ab}]")
    assert one(one_, other, merge=True).cubes == one(other, one_, merge=True).cubes


def test_two_values_for_one_leaf_are_an_error_that_names_both():
    problem = problem_of(topology("cubes: [{name: a, service-name: hub, label: ‹ab}]"),
                         topology("cubes: [{name: b, service-name: hub}, {name: a, label: «ac}]"), merge=True)
    assert problem.message == '"ac" here, but "ab" in another document of this topology'
    assert problem.path == "/spec/cubes/a/label"


def test_two_orders_of_a_chain_are_an_error():
    walls = ", {name: v, service-name: wall}, {name: w, service-name: wall}"
    problem = problem_of(topology("cubes: [{name: a, service-name: hub, ports: [{name: p, tcubes: ‹[v, w]}]}" + walls + "]"),
                         topology("cubes: [{name: a, ports: [{name: p, tcubes: «[w, v]}]}]"), merge=True)
    assert problem.path == "/spec/cubes/a/ports/p/tcubes"


def test_a_list_here_and_a_mapping_there_are_an_error():
    problems = problems_of(topology("cubes: [{name: a, service-name: hub, table: ‹{aging-time: 5}}]"),
                           topology("cubes: [{name: a, table: «[]}]"), merge=True)
    assert len(problems) == 1


def test_what_is_wrong_in_a_merged_topology_is_shown_where_it_was_written():
    problems = problems_of(
        topology("cubes: [{name: a, service-name: hub, ports: [{name: p, peer: «b:z}]}]"),
        topology("cubes:\n- ‹{name: b, service-name: hub, ports: [{name: q}]}\n"
                 "- {name: a, ports: [{name: o, peer: «c:x}], «lable: x}"),
        merge=True)
    assert [problem.message for problem in problems] == [
        'no such port "z" on cube "b"', 'no such cube "c"', 'unknown key "lable"']


def test_two_equal_keys_in_one_document_are_no_merge():
    problem = problem_of(topology("cubes: [‹{name: a, service-name: hub}, «{name: a, service-name: hub}]"),
                         topology("cubes: []"), merge=True)
    assert problem.message == 'duplicate cube "a"'


def test_documents_of_different_names_stay_apart():
    found, _ = checked(topology("cubes: []", "one"), topology("cubes: []", "two"), merge=True)
    assert [each.name for each in found] == ["one", "two"]


def test_a_cube_in_two_topologies_is_an_error_even_if_others_are_merged():
    problem = problem_of(topology("cubes: [‹{name: a, service-name: hub}]", "one"), topology("cubes: []", "one"),
                         topology("cubes: [«{name: a, service-name: hub}]", "two"), merge=True)
    assert problem.message == 'cube "a" is in another topology already'


def test_a_value_that_is_the_same_in_both_is_no_conflict():
    assert one(topology("cubes: [{name: a, service-name: hub, label: ab}]"),
               topology("cubes: [{name: a, service-name: hub, label: ab}]"), merge=True).cubes[0].config["label"] == "ab"

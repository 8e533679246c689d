"""Polycube's own documents: a bare list of cubes."""
from __future__ import annotations

import pytest

from reconciler.errors import Position
from tests.unit.data.documents import checked, one, problem_of, problems_of, read

LIST = """
- {name: c, service-name: hub, ports: [{name: p1, peer: veth1}, {name: to_d, peer: "d:to_c"}]}
- {name: d, service-name: hub, type: TC, ports: [{name: to_c, peer: "c:to_d", tcubes: [w]}]}
- {name: w, service-name: wall, loglevel: INFO}
"""


def test_a_list_of_cubes_is_a_topology_named_after_its_file():
    found = one(LIST)
    assert found.name == "f0"
    assert [cube.name for cube in found.cubes] == ["c", "d", "w"]
    assert found.cubes[1].ports[0].tcubes == ("w",)
    assert found.document["kind"] == "Topology"


@pytest.mark.parametrize(("file", "name"), [
    ("cubes.yaml", "cubes"), ("/etc/pcn/My Cubes.v2.yaml", "My-Cubes"), ("<stdin>", "default"), (".yaml", "default"),
    ("a" * 80, "a" * 63),
])
def test_the_name_of_a_file_becomes_a_name_that_can_be_used(file, name):
    from reconciler.check.polycube import name_from

    assert name_from(file) == name


def test_what_is_wrong_in_a_list_is_shown_where_it_is():
    problem = problem_of("- {name: c, service-name: hub, ports: [{name: p, peer: «d:q}]}")
    assert (problem.message, problem.path) == ('no such cube "d"', "/spec/cubes/c/ports/p/peer")


def test_state_of_a_dump_is_left_out_with_one_warning_for_each_leaf():
    (found,), warnings = checked("""
- name: c
  uuid: 5e0e2f1a-0000-4000-8000-000000000000
  service-name: hub
  shadow: false
  span: false
  ports:
  - {name: p, uuid: 5e0e2f1a-0000-4000-8000-000000000001, status: UP, peer: ""}
  - {name: q, uuid: 5e0e2f1a-0000-4000-8000-000000000002, status: DOWN}
  table:
    entry:
    - {address: 02:00:00:00:00:01, port: p, age: 4}
    - {address: 02:00:00:00:00:02, port: p, age: 4}
""")
    said = {warning.message: warning for warning in warnings}
    assert set(said) == {
        '"uuid" is read-only state; it is left out, here and in 2 other places',
        '"status" is read-only state; it is left out, here and in 1 other places',
        '"age" is read-only state; it is left out, here and in 1 other places',
    }
    assert {warning.severity for warning in warnings} == {"warning"}
    assert warnings[0].where == Position("f0.yaml", 3, 3)
    assert found.cubes[0].ports[0].peer is None
    assert "age" not in str(found.document)


def test_a_feature_of_polycube_that_is_missing_here_is_not_left_out_silently():
    problem = problem_of("- {name: v, service-name: wall, «shadow: true}")
    assert problem.message == 'unknown key "shadow"'


def test_in_a_topology_state_is_an_error():
    from tests.unit.data.documents import cube

    assert problem_of(cube("«uuid: 5e0e2f1a-0000-4000-8000-000000000000")).message == 'unknown key "uuid"'


def test_parents_become_chains():
    (found,), warnings = checked("""
- {name: v, service-name: wall, parent: "c:p"}
- {name: w, service-name: wall, parent: "c:p"}
- {name: x, service-name: wall, parent: eth0}
- {name: y, service-name: wall, parent: eth0}
- {name: z, service-name: wall, parent: ""}
- {name: c, service-name: hub, ports: [{name: p}]}
""")
    assert warnings == []
    assert found.cubes[5].ports[0].tcubes == ("v", "w")
    assert [(each.netdev, each.tcubes) for each in found.attachments] == [("eth0", ("x", "y"))]


def test_a_parent_that_lists_its_cube_too_says_the_same_twice():
    assert one('- {name: w, service-name: wall, parent: "c:p"}\n- {name: c, service-name: hub, ports: [{name: p, tcubes: [w]}]}')


def test_a_parent_that_is_not_there_is_an_error():
    problem = problem_of('- {name: w, service-name: wall, parent: «"c:q"}\n- {name: c, service-name: hub, ports: [{name: p}]}')
    assert (problem.message, problem.path) == ('no such port "c:q"', "/w/parent")


def test_what_is_wrong_with_a_chain_from_parents_is_shown_at_the_parent():
    problems = problems_of("""
- ‹{name: v, service-name: wall, parent: «eth0}
- {name: w, service-name: wall, type: XDP_SKB, parent: eth0}
""")
    assert problems[0].message == '"v" is a TC cube, and what is at netdev "eth0" runs at XDP_SKB'


def test_tcubes_of_a_port_count_from_the_cube_outwards():
    (found,), (warning,) = checked("""
- {name: c, service-name: hub, ports: [{name: p, tcubes: [inner, outer]}]}
- {name: inner, service-name: wall}
- {name: outer, service-name: wall}
""")
    assert found.cubes[0].ports[0].tcubes == ("outer", "inner")
    assert warning.message == "tcubes count from the cube outwards in Polycube; their order is turned round"
    assert warning.where == Position("f0.yaml", 2, 50)


def test_a_problem_in_turned_tcubes_is_shown_at_the_right_one():
    problem = problem_of("- {name: c, service-name: hub, ports: [{name: p, tcubes: [«inner, outer]}]}\n"
                         "- {name: outer, service-name: wall}")
    assert problem.message == 'no such cube "inner"'


def test_a_list_and_a_topology_can_be_one_desired_set():
    from tests.unit.data.documents import topology

    found, _ = checked("- {name: c, service-name: hub, ports: [{name: p, peer: d:q}]}",
                       topology("cubes: [{name: d, service-name: hub, ports: [{name: q}]}]"))
    assert [each.name for each in found] == ["f0", "t"]


def test_a_list_of_something_else_is_told_once_and_one_that_has_a_cube_entry_by_entry():
    assert [problem.message[:21] for problem in problems_of("«- just text\n- 5")] == ["this is no topology: "]
    assert [problem.message for problem in problems_of("- {name: c, service-name: hub}\n- «5")] == [
        "expected a mapping, found 5"]
    assert read("- 1")[0][0].data == [1]

"""Rules for chains of transparent cubes."""
from __future__ import annotations

import pytest

from tests.unit.data.documents import one, problem_of, topology


def chain(tcubes: str, *cubes: str, port_type: str = "TC") -> str:
    """A hub with one port that has these tcubes, and more cubes."""
    hub = f"- {{name: a, service-name: hub, type: {port_type}, ports: [{{name: p, tcubes: {tcubes}}}]}}"
    return topology("\n".join(["cubes:", hub, *cubes]))


def test_a_transparent_cube_that_is_not_there_is_an_error_with_a_near_miss():
    problem = problem_of(chain("[«wal1]", "- {name: wall1, service-name: wall}"))
    assert (problem.message, problem.hint) == ('no such cube "wal1"', 'did you mean "wall1"?')
    assert problem.path == "/spec/cubes/a/ports/p/tcubes/[0]"


def test_a_standard_cube_cannot_be_in_a_chain():
    problem = problem_of(chain("[«b]", "- ‹{name: b, service-name: hub}"))
    assert problem.message == '"b" is a hub, which is not a transparent cube'


def test_a_cube_cannot_be_in_the_chain_of_its_own_port():
    assert problem_of(topology("cubes:\n- ‹{name: a, service-name: hub, ports: [{name: p, tcubes: [«a]}]}")).message == (
        '"a" is a hub, which is not a transparent cube')


def test_a_transparent_cube_may_be_at_several_ports_and_netdevs():
    assert one(topology("""
        attachments: [{netdev: eth0, tcubes: [w]}, {netdevs: "eth* !eth0", tcubes: [v]}]
        cubes:
        - {name: w, service-name: wall}
        - {name: v, service-name: wall}
        - {name: a, service-name: hub, ports: [{name: p, tcubes: [w]}, {name: q, tcubes: [w]}]}
        """))


def test_a_transparent_cube_at_a_port_and_at_its_netdev_is_an_error_that_names_both():
    problem = problem_of(topology("""
        attachments: [{netdev: eth0, tcubes: [«w]}]
        cubes:
        - {name: w, service-name: wall}
        - {name: a, service-name: hub, ports: [{name: p, peer: eth0, tcubes: [‹w]}]}
        """))
    assert problem.message == '"w" is at netdev "eth0" and at port "a:p", whose peer it is: a packet would pass it twice'


def test_a_transparent_cube_at_a_port_and_at_what_a_selector_matches_is_an_error():
    problem = problem_of(topology("""
        attachments: [{netdevs: all, tcubes: [«w]}]
        cubes:
        - {name: w, service-name: wall}
        - {name: a, service-name: hub, ports: [{name: p, tcubes: [‹w]}]}
        """))
    assert problem.message == '"w" is at netdevs "all" and at port "a:p", whose peer it may be: a packet would pass it twice'


@pytest.mark.parametrize("where", ["", "netdev: eth0, netdevs: all, "])
def test_an_attachment_says_either_a_netdev_or_a_selector(where):
    problem = problem_of(topology(f"attachments: [«{{{where}tcubes: [w]}}]\ncubes:\n- {{name: w, service-name: wall}}"))
    assert problem.message == "an attachment is at one netdev, or at the netdevs that a selector matches"


def test_what_selectors_put_at_every_netdev_counts_at_each():
    cubes = "".join(f"- {{name: w{number}, service-name: wall}}\n" for number in range(15))
    names = ", ".join(f"w{number}" for number in range(14))
    problem = problem_of(topology(f"attachments: [{{netdev: eth0, tcubes: [«w14]}}, {{netdevs: all, tcubes: [{names}]}}]\ncubes:\n{cubes}"))
    assert problem.message == '15 transparent cubes at netdev "eth0"; a packet can pass 14 of them in a row'


def test_a_transparent_cube_twice_in_one_chain_is_one_error():
    problem = problem_of(chain("[‹w, «w]", "- {name: w, service-name: wall}"))
    assert problem.message == '"w" is listed twice'


def test_a_transparent_cube_runs_at_the_hook_of_the_port_s_cube():
    problem = problem_of(chain("[«w]", "- ‹{name: w, service-name: wall, type: TC}", port_type="XDP_SKB"))
    assert problem.message == '"w" is a TC cube, and what is at port "a:p" runs at XDP_SKB'


def test_a_tc_cube_on_a_netdev_sees_nothing_behind_an_xdp_cube():
    problem = problem_of(topology("""
        attachments: [{netdev: eth0, tcubes: [«w]}]
        cubes:
        - ‹{name: w, service-name: wall}
        - {name: a, service-name: hub, type: XDP_DRV, ports: [{name: p, peer: eth0}]}
        """))
    assert problem.message == '"w" is a TC cube, and what is at netdev "eth0" runs at XDP_DRV'


def test_on_a_netdev_xdp_stands_before_tc():
    problem = problem_of(topology("""
        attachments: [{netdev: eth0, tcubes: [«v, w]}]
        cubes:
        - ‹{name: v, service-name: wall}
        - {name: w, service-name: wall, type: XDP_SKB}
        """))
    assert problem.message == '"v" is a TC cube, and what is at netdev "eth0" runs at XDP_SKB'


def test_an_xdp_cube_may_stand_in_front_of_a_tc_bridge():
    assert one(topology("""
        attachments: [{netdev: eth0, tcubes: [v, w]}]
        cubes:
        - {name: v, service-name: wall, type: XDP_SKB}
        - {name: w, service-name: wall}
        - {name: a, service-name: hub, ports: [{name: p, peer: eth0}]}
        """)).attachments[0].tcubes == ("v", "w")


def test_a_transparent_cube_has_no_ports():
    problem = problem_of(topology("cubes: [{name: w, service-name: wall, «ports: [{name: p}]}]"))
    assert problem.message == "a wall is a transparent cube: it has no ports"


def test_a_chain_keeps_its_order_from_the_wire_inwards():
    found = one(chain("[w, v]", "- {name: v, service-name: wall}", "- {name: w, service-name: wall}"))
    assert found.cubes[0].ports[0].tcubes == ("w", "v")


def test_a_transparent_cube_that_is_nowhere_is_no_error():
    assert one(topology("cubes: [{name: w, service-name: wall}]")).cubes[0].name == "w"


def test_a_cube_of_an_unknown_service_is_complained_of_once():
    problem = problem_of(chain("[w]", "- {name: w, service-name: «wal}"))
    assert (problem.message, problem.hint) == ('unknown service "wal"', 'did you mean "wall"?')


def test_more_transparent_cubes_in_a_row_than_a_packet_can_pass_are_an_error():
    names = [f"w{number}" for number in range(15)]
    listed = ", ".join([*names[:14], "«w14"])
    problem = problem_of(chain(f"[{listed}]", *(f"- {{name: {name}, service-name: wall}}" for name in names)))
    assert problem.message == '15 transparent cubes at port "a:p"; a packet can pass 14 of them in a row'

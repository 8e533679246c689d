"""Rules that ask who sent a frame: one look-up, however many stations there are, and what is said of bad ones."""
from __future__ import annotations

import pytest

from cubes.firewall import programs
from cubes.firewall.rules import rules_of
from cubes.firewall.tuple_selection import select_tuples
from cubes.firewall.tuple_space import Numbers, covers

NOBODY = Numbers({}, {})


def stations(count: int) -> list[dict[str, object]]:
    return [{"id": n, "smac": f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", "l4proto": "TCP", "dport": n % 3 + 1} for n in range(count)]


@pytest.mark.parametrize("family", [4, 6])
def test_a_thousand_stations_are_one_look_up_or_two(family: int) -> None:
    found = select_tuples(tuple(rules_of(0, stations(1000))), family, None, NOBODY)
    assert len(found.sizes) == 1
    assert found.most <= 2


def test_a_station_is_covered_by_itself_and_by_everybody() -> None:
    one, other, but, every = rules_of(0, [{"id": 1, "smac": "02:00:00:00:00:01"}, {"id": 2, "smac": "02:00:00:00:00:02"},
                                          {"id": 3, "smac": "!02:00:00:00:00:01"}, {"id": 4}])  # fmt: skip
    assert covers(every, one)
    assert not any(covers(a, b) for a, b in ((one, other), (one, every), (one, but), (but, other)))


def test_only_rules_that_ask_and_sets_that_they_could_ask_for_load_the_programs_that_look() -> None:
    plain = {"chain": [{"name": "INGRESS", "rule": [{"id": 1, "l4proto": "TCP"}]}]}
    asking = {"chain": [{"name": "INGRESS", "rule": [{"id": 1, "smac": "!02:00:00:00:00:01"}]}]}
    assert set(programs(asking)["ingress"]) - set(programs(plain)["ingress"]) == {6, 7, 8}
    assert programs({**plain, "set": [{"name": "nobody", "prefix": []}]}) == programs(asking)
    assert programs({**plain, "set": []}) == programs(plain)

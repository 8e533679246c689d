"""Sets of addresses in INPUT, FORWARD and OUTPUT, and in chains that rules lead to; an entry is one row."""
from __future__ import annotations

from typing import Any

import pytest

from cubes.iptables import IMPORTS, programs
from cubes.iptables.check import problems
from tests.lib.lab import counts
from tests.services.iptables.lab import HostLab

H1, H2, HERE = "10.0.1.1", "10.0.2.1", "10.0.1.254"
DROP = {"default": "DROP"}


def test_sets_decide_in_every_chain_and_an_entry_that_changes_is_one_row() -> None:
    with HostLab(conntrack="OFF") as lab:
        friends: dict[str, Any] = {"name": "friends", "prefix": ["192.0.2.0/24", "2001:db8::1"]}
        lab.cube("fw")["set"] = [friends, {"name": "others", "prefix": [H2]}, {"name": "own-addresses", "own-addresses": True}]
        known, answers = [{"src-set": "friends"}], {"src-set": "others", "dst-set": "friends"}
        lab.chains(INPUT=DROP | {"rule": [{"dst-set": "own-addresses", "action": "known"}]}, FORWARD=DROP | {"rule": [{"action": "known"}, answers]},
                   OUTPUT=DROP | {"rule": [{"src-set": "own-addresses", "dst-set": "!others"}]}, known={"rule": known})  # fmt: skip
        assert lab.fails("h1", HERE)
        assert lab.fails("h1", H2)
        friends["prefix"].append(H1)
        assert counts(lab.apply()).map_writes == 1
        assert lab.ok("h1", HERE)
        assert lab.ok("h1", H2)
        assert lab.fails("h2", "10.0.2.254")
        assert lab.fails(None, H2)
        friends["prefix"].remove(H1)
        lab.apply()
        assert lab.fails("h1", HERE)
        assert lab.stats("known")["0"] > 0
        assert {each["name"]: each.get("prefix") for each in lab.live_cube("fw")["set"]} == {
            "friends": ["192.0.2.0/24", "2001:db8::1"], "others": [H2], "own-addresses": None}  # fmt: skip
        assert not lab.apply().plan.steps


def test_only_rules_that_ask_for_sets_load_the_programs_that_look_for_them() -> None:
    plain, asking = ({"chain": [{"name": "INPUT", "rule": [{"id": 0, **rule}]}]} for rule in ({"src": H1}, {"dst-set": "!friends"}))
    assert set(programs(asking)["egress"]) - set(programs(plain)["egress"]) == {6, 7}


@pytest.mark.parametrize(("rules", "said"), [
    ([{"id": 0, "src-set": "fiends"}], "there is no set 'fiends'; did you mean 'friends'?"),
    ([{"id": 0, "src-set": "friends", "action": "web"}], "ask for two sets of one end, friends and !others"),
])  # fmt: skip
def test_sets_that_cannot_be_are_errors(rules: list[dict[str, Any]], said: str) -> None:
    sets = [{"name": "friends", "prefix": [H1]}, {"name": "others", "prefix": [H2]}]
    web = {"name": "web", "rule": [{"id": 0, "src-set": "!others"}, {"id": 1, "src-set": "friends"}]}
    found = [sentence for _, sentence, how in problems({"set": sets, "chain": [{"name": "INPUT", "rule": rules}, web]}) if how == "error"]
    assert len(found) == 1
    assert said in found[0]


def test_sets_and_own_addresses_are_imported() -> None:
    text = """create bad hash:net family inet
add bad 192.0.2.0/24
add bad 192.0.2.7
create pairs hash:ip,port
*filter
:INPUT DROP [0:0]
-A INPUT -m set --match-set bad src -j DROP
-A INPUT -m set --match-set pairs src,dst -j ACCEPT
-A INPUT -m set --match-set missing src -j ACCEPT
-A INPUT -m addrtype --dst-type LOCAL -j ACCEPT
COMMIT
"""
    found = IMPORTS["iptables-save"].read({"f": text}, {})
    (cube,) = found.document["spec"]["cubes"]
    assert cube["set"] == [{"name": "own-addresses", "own-addresses": True}, {"name": "bad", "prefix": ["192.0.2.0/24", "192.0.2.7"]}]
    assert cube["chain"][0]["rule"] == [{"id": 0, "src-set": "bad", "action": "DROP"}, {"id": 1, "dst-set": "own-addresses", "action": "ACCEPT"}]
    assert [problem.where.line for problem in found.lost if problem.where and problem.severity == "error"] == [8, 9]

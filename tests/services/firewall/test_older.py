"""Whether a firewall's rules let TCP go on that is older than it."""

from __future__ import annotations

from typing import Any

import pytest

from cubes.firewall import cuts
from cubes.iptables import cuts as cuts_of_iptables
from cubes.lib.older import accepts

SSH = {"id": 5, "l4proto": "TCP", "dport": 22, "action": "ACCEPT"}


@pytest.mark.parametrize(
    ("rules", "state", "accepted"),
    [
        ([SSH], "NEW", True),
        ([SSH | {"conntrack": "NEW"}], "NEW", True),
        ([SSH | {"conntrack": ["ESTABLISHED", "NEW"]}], "NEW", True),
        ([SSH | {"conntrack": "NEW"}], "INVALID", False),
        ([SSH | {"tcpflags": "SYN,!ACK"}], "NEW", False),
        ([SSH | {"tcpflags": "!SYN"}], "NEW", True),
        ([SSH | {"l4proto": "UDP"}], "NEW", False),
        ([SSH | {"action": "LOG"}], "NEW", False),
        ([{"id": 9, "action": "ACCEPT"}], "INVALID", True),
        ([{"id": 1, "conntrack": "INVALID", "action": "DROP"}, {"id": 9, "action": "ACCEPT"}], "INVALID", False),
        ([{"id": 9, "action": "ACCEPT"}, {"id": 1, "conntrack": "NEW", "action": "REJECT", "reject-with": "TCP_RESET"}], "NEW", False),
        ([{"id": 1, "src": "10.0.0.1", "action": "DROP"}, {"id": 9, "action": "ACCEPT"}], "NEW", True),
        ([], "NEW", False),
    ],
)
def test_what_a_chain_that_denies_by_default_accepts(rules: list[dict[str, Any]], state: str, accepted: bool) -> None:
    assert accepts({"default": "DROP", "rule": rules}, state) is accepted


def chains(inwards: str, outwards: str = "ACCEPT", *, names: tuple[str, str] = ("INGRESS", "EGRESS"), **leaves: Any) -> dict[str, Any]:
    return {"chain": [{"name": name, "default": default} for name, default in zip(names, (inwards, outwards), strict=True)], **leaves}


def test_a_firewall_that_comes_cuts_what_it_cannot_take_up() -> None:
    assert cuts(None, {}) == ""
    assert "without their SYN" in cuts(None, chains("DROP"))
    assert cuts(None, chains("ACCEPT", "DROP")) == ""  # what is answered is established
    assert cuts(None, chains("ACCEPT", "DROP", **{"accept-established": "OFF"}))
    assert cuts(None, chains("ACCEPT", **{"pick-up": "OFF"})) == ""
    assert "pick-up: OFF" in cuts(None, chains("ACCEPT", "REJECT", **{"pick-up": "OFF"}))
    assert cuts(None, chains("ACCEPT", "DROP", conntrack="OFF"))


def test_one_that_is_there_cuts_only_when_it_begins_to_track() -> None:
    strict = chains("DROP", **{"pick-up": "OFF"})
    assert cuts({"conntrack": "OFF"}, strict)
    assert cuts({}, strict) == cuts({"conntrack": "OFF"}, chains("DROP", conntrack="OFF")) == ""


def test_the_hosts_firewall_likewise() -> None:
    names = ("INPUT", "OUTPUT")
    assert cuts_of_iptables(None, chains("DROP", names=names))
    assert cuts_of_iptables(None, chains("ACCEPT", "DROP", names=names))
    assert cuts_of_iptables({}, chains("DROP", names=names)) == cuts_of_iptables(None, chains("ACCEPT", names=names)) == ""

"""Sets of addresses under traffic: an entry is one row, in force at once, and rules that ask for sets come and go without a loss."""
from __future__ import annotations

import pytest

from reconciler.kernel import linkwrite
from tests.lib.lab import HOOKS, counts
from tests.lib.netns_topology import run_in
from tests.services.firewall.lab import HOST, FirewallLab
from tests.services.firewall.rate import PORT, Rate

MANY = 100_000


def addresses(count: int) -> list[str]:
    return [f"172.{16 + (n >> 16)}.{n >> 8 & 255}.{n & 255}" for n in range(count)]


@pytest.mark.parametrize("hook", HOOKS)
def test_an_entry_that_comes_or_goes_is_one_row_and_decides(hook: str) -> None:
    with FirewallLab(hook=hook, conntrack="OFF") as lab:
        lab.firewall["set"] = [{"name": "friends", "prefix": ["192.0.2.0/24", "2001:db8::1"]}, {"name": "others"}]
        lab.chain("INGRESS", {"src-set": "friends"}, {"dst-set": "friends", "src-set": "!others", "action": "DROP"})
        lab.chain("EGRESS", default="ACCEPT")
        lab.apply()
        assert lab.in_fails()
        for entry in (HOST, "10.0.0.0/30"):
            lab.firewall["set"][0]["prefix"].append(entry)
            assert counts(lab.apply()).map_writes == 1
            assert lab.in_ok()
            lab.firewall["set"][0]["prefix"].remove(entry)
            lab.apply()
            assert lab.in_fails()
        assert lab.live_cube("fw")["set"] == [{"name": "friends", "prefix": ["192.0.2.0/24", "2001:db8::1"]}, {"name": "others"}]


def test_a_set_of_this_hosts_addresses_follows_them() -> None:
    """A rule may be about what is for the host itself, whatever its addresses are."""
    with FirewallLab(hook="TC", conntrack="OFF") as lab:
        lab.firewall["set"] = [{"name": "me", "own-addresses": True}, {"name": "others", "prefix": ["192.0.2.1"]}]
        lab.chain("INGRESS", {"dst-set": "me"}, default="DROP")
        lab.chain("EGRESS", default="ACCEPT")
        lab.apply()
        assert lab.in_ok()
        assert lab.live_cube("fw")["set"] == lab.firewall["set"]
        assert not lab.apply().plan.steps
        before = dict(lab.table("fw", "set_hosts"))
        run_in(None, ["ip", "link", "add", "own0", "type", "veth", "peer", "name", "own1"])
        linkwrite.add_address("own0", None, "192.0.2.77/24")
        assert {change.address for change in lab.drift()} == {"cube/fw/table/set_hosts"}
        assert counts(lab.apply()).map_writes == 1
        assert len(lab.table("fw", "set_hosts")) == len(before) + 1
        run_in(None, ["ip", "link", "del", "own0"])


@pytest.mark.parametrize("hook", HOOKS)
def test_the_first_set_and_the_first_rule_that_asks_for_one_and_the_last_ones_lose_no_packet(hook: str) -> None:
    """The programs that look for sets come and go with the sets; rules write rows alone where a set is there already."""
    with FirewallLab(hook=hook, conntrack="OFF") as lab:
        plain, asking = {"l4proto": "UDP", "dport": PORT}, {"src-set": "friends", "l4proto": "UDP", "dport": PORT}
        friends, nobody = {"name": "friends", "prefix": [HOST]}, {"name": "nobody", "prefix": []}
        lab.firewall["set"] = []
        lab.chain("INGRESS", plain, default="DROP")
        lab.chain("EGRESS", default="ACCEPT")
        lab.apply()
        loads = []
        with Rate(lab, 20_000) as rate:
            for rule, *sets in ((asking, friends), (plain,), (plain, nobody), (asking, nobody, friends), (plain, nobody), (plain,)):
                lab.firewall["set"] = sets
                lab.chain("INGRESS", rule, default="DROP")
                loads.append(counts(lab.apply()).program_loads > 0)
        assert rate.lost() == 0
        assert loads == [True, True, True, False, False, True]


@pytest.mark.exhaustive
def test_one_of_100_000_addresses_is_one_row() -> None:
    with FirewallLab(hook="TC", conntrack="OFF") as lab:
        many = addresses(MANY)
        lab.firewall["set"] = [{"name": "friends", "prefix": many}]
        lab.chain("INGRESS", {"src-set": "friends"})
        lab.chain("EGRESS", default="ACCEPT")
        lab.apply()
        assert lab.in_fails()
        many[MANY // 2] = HOST
        assert counts(lab.apply()).map_writes == 2, "one comes, one goes"
        assert lab.in_ok()
        many[MANY // 2] = "192.0.2.1"
        lab.apply()
        assert lab.in_fails()


@pytest.mark.parametrize("hook", HOOKS)
def test_a_station_is_let_in_by_its_mac_and_nobody_else(hook: str) -> None:
    """As it is written: in capitals, and with '!' for all others."""
    with FirewallLab(hook=hook, conntrack="OFF") as lab:
        lab.chain("EGRESS", default="ACCEPT")
        for smac, passes in (("02:00:00:00:00:01", True), ("02:00:00:00:00:09", False), ("!02:00:00:00:00:01", False), ("!02:00:00:00:00:0A", True)):
            lab.chain("INGRESS", {"smac": smac, "l4proto": "ICMP"})
            lab.apply()
            assert lab.in_ok() if passes else lab.in_fails(), smac
            (rule,) = next(chain["rule"] for chain in lab.live_cube("fw")["chain"] if chain["name"] == "INGRESS")
            assert rule["smac"] == smac.lower()

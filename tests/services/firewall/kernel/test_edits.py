"""Rules are changed under traffic: nothing is lost, nothing slips through, and a change costs what it changes."""
from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from reconciler.errors import DocumentError
from tests.lib.lab import Counts, counts
from tests.services.firewall.frames import MACS, ipv4
from tests.services.firewall.lab import HOST, STACK, FirewallLab
from tests.services.firewall.machine import Machine, Run
from tests.services.firewall.rate import PORT, TALK_PORT, Rate, Talk
from tests.services.firewall.rulesets import rule_set

SOURCE, TARGET = 0x0A000001, 0x0A000002
FRAME = MACS + b"\x08\x00" + ipv4(17, SOURCE, TARGET, struct.pack("!HHHH", 1000, 2000, 8, 0), None)


@pytest.fixture(params=["TC", "XDP_DRV"])
def machine(request) -> Iterator[Machine]:
    with FirewallLab(hook=request.param, conntrack="OFF") as lab:
        lab.both(default="ACCEPT")
        lab.apply()
        with Machine(lab, "fw") as machine:
            yield machine


@contextmanager
def run_all_the_while(run: Run) -> Iterator[list[int]]:
    """One packet after the other through the programs, a million a second; gives how many it were."""
    total, over = [0], threading.Event()

    def work() -> None:
        while not over.is_set():
            run.once(FRAME, 20_000)
            total[0] += 20_000

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield total
    finally:
        over.set()
        thread.join()


def chain(*rules: dict, default: str) -> dict:
    return {"conntrack": "OFF", "chain": [{"name": "INGRESS", "default": default, "rule": [{"id": n, **rule} for n, rule in enumerate(rules)]}]}


def stats(machine: Machine) -> dict[str, int]:
    (found,) = machine.state()["chain"]
    return {entry["id"]: entry["pkts"] for entry in found["stats"]}


@pytest.mark.parametrize(("action", "default"), [("ACCEPT", "DROP"), ("DROP", "ACCEPT")])
def test_a_packet_that_both_versions_decide_alike_is_never_decided_otherwise(machine, action, default):
    """The versions have no rule in common, nor a tuple: one that is half there would leave the packet to the default."""
    first = chain({"src": "10.0.0.1", "action": action}, {"dst": "10.0.0.0/8", "action": action}, default=default)
    second = chain({"dst": "10.0.0.2", "l4proto": "UDP", "action": action}, default=default)
    machine.load(first)
    machine.forget()
    with run_all_the_while(machine.runs["INGRESS"][0]) as total:
        while total[0] < 1_000_000:
            machine.load(second)
            machine.load(first)
        assert stats(machine)["default"] == 0
    assert stats(machine)["default"] == 0


def test_nothing_gets_past_a_rule_while_a_thousand_others_come_and_go(machine):
    rng = random.Random(5)
    others = [{**rule, "src": "10.99.0.0/16"} for chain in rule_set(rng, 300, tracked=False)["chain"] for rule in chain["rule"]
              if "." in rule.get("dst", ".") and rule.get("l4proto") != "ICMPV6" and not {"src-set", "dst-set"} & rule.keys()]  # fmt: skip
    guard = {"src": "10.0.0.0/24", "action": "DROP", "name": "guard"}
    machine.load(chain(guard, default="ACCEPT"))
    machine.forget()
    with run_all_the_while(machine.runs["INGRESS"][0]) as total:
        for _ in range(40):
            some = rng.sample(others, rng.randint(0, len(others)))
            place = rng.randint(0, len(some))
            machine.load(chain(*some[:place], guard, *some[place:], default="ACCEPT"))
        counted = stats(machine)
        assert counted.pop("default") == 0
        while not total[0]:
            time.sleep(0.01)
    assert stats(machine)["default"] == 0
    assert total[0] > 0


# -- whole applies ------------------------------------------------------------------------------------------------------


def many(count: int) -> list[dict]:
    return [{"src": f"10.{1 + (n >> 16)}.{n >> 8 & 255}.{n & 255}", "l4proto": "TCP", "dport": n % 50_000, "action": "DROP"} for n in range(count)]


@pytest.mark.parametrize(("hook", "count"), [("TC", 10_000), ("XDP_DRV", 10_000)])
def test_a_rule_at_the_top_in_the_middle_and_at_the_end_of_thousands_is_a_handful_of_rows_and_loses_nothing(hook, count):
    """While datagrams pass, a hundred thousand a second if the machine can, and a connection that the rules no longer let begin
    goes on."""
    begins = {"l4proto": "TCP", "dport": TALK_PORT, "conntrack": "NEW"}
    with FirewallLab(hook=hook) as lab:
        rules, last = many(count), {"l4proto": "UDP", "dport": PORT}

        def write() -> None:
            lab.chain("INGRESS", *rules, last, default="DROP", step=10)

        rules.append(begins)
        write()
        lab.chain("EGRESS", default="DROP")
        begun = time.monotonic()
        assert counts(lab.apply()).map_writes > 3 * count
        assert time.monotonic() - begun < 60
        with Rate(lab, 120_000) as rate, Talk(lab) as talk:
            rules.remove(begins)
            rows = []
            for place in (0, count // 2, count + 2):
                rules.insert(place, {"src": "172.16.0.1", "l4proto": "UDP", "dport": place, "action": "DROP"})
                write()
                planned = counts(lab.plan())
                done = lab.apply()
                assert counts(done) == planned == Counts(map_writes=planned.map_writes)
                assert planned.map_writes <= 10 + 3 * (place == 0), "the first edit takes a rule away as well"
                rows.append(planned.map_writes)
            removed = rules.pop(count // 2)
            assert removed["src"] == "172.16.0.1"
            write()
            assert counts(lab.apply()).map_writes <= 10
        measured = f"{rate.sent / rate.seconds:,.0f} datagrams a second for {rate.seconds:.1f} s, {rate.lost()} lost; rows {rows}"
        print(f"{hook}: {measured}; a byte there and back {talk.longest:.3f} s at the longest")  # noqa: T201 - for pytest -rP
        assert rate.lost() == 0
        assert rate.sent > 5_000
        assert talk.turns > 10
        assert talk.longest < 2
        assert not lab.drift()


def test_damage_to_what_packets_meet_is_drift_and_is_mended_without_a_gap():
    from reconciler.kernel import maps

    with FirewallLab(conntrack="OFF") as lab:
        lab.chain("INGRESS", {"src": HOST, "action": "DROP"}, default="ACCEPT")
        lab.apply()
        assert lab.in_fails()
        with lab.reader().root.opened("cubes/fw/tables/cells4") as fd:
            (key,) = maps.keys(fd, maps.info(fd).spec)
            maps.delete(fd, key)
        assert lab.in_ok()
        assert lab.drift()
        lab.apply()
        assert lab.in_fails()
        assert not lab.drift()


def test_rules_that_cannot_be_searched_are_refused_before_anything_is_written():
    with FirewallLab() as lab:
        lab.chain("INGRESS", {"src": HOST}, default="DROP")
        lab.apply()
        lab.chain("INGRESS", *({"l4proto": "TCP", "sport": f"{n}-{30000 + n}", "dport": f"{40000 - n}-{60000 + n}"} for n in range(1, 600)))
        with pytest.raises(DocumentError, match="too unlike each other"):
            lab.apply()
        assert not lab.drift()
        assert lab.in_ok()


def test_connections_go_on_through_an_edit():
    with FirewallLab() as lab:
        lab.chain("EGRESS", {"l4proto": "UDP", "dport": 5000, "conntrack": "NEW"})
        lab.chain("INGRESS", default="DROP")
        lab.apply()
        assert lab.udp(None, "h1", HOST, 5000, 5001) == (True, True)
        lab.chain("EGRESS", {"src": STACK, "action": "DROP"})
        lab.apply()
        assert lab.udp(None, "h1", HOST, 5000, 5001) == (True, True)
        assert lab.udp(None, "h1", HOST, 5000, 5002) == (False, False)

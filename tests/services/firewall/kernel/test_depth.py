"""How many rules that do not decide a packet may match, by the look-ups that the rules need: to the packet, as the docs state it."""
from __future__ import annotations

import struct

import pytest

from benchmarks.firewall_fuzz import in_test_runs
from tests.services.firewall.frames import MACS, ipv4
from tests.services.firewall.model import Model


@pytest.fixture(scope="module", params=["TC", "XDP_DRV"])
def machine(request):
    with in_test_runs(request.param) as machine:
        yield machine


def fate(machine, logs: int, lookups: int, *, wrong: bool = False) -> tuple[str, int, int, str]:
    """What becomes of a packet that matches so many rules that log: the verdict, the log rules that count it, packets dropped as too
    deep, and what the model says. As many rules as are left of the look-ups are under its key, and of other netdevs."""
    rules = [{"action": "LOG"}] * logs + [{"in-interface": f"d{place}", "action": "DROP"} for place in range(lookups - logs)]
    entries = [{"id": place, "name": f"n{place}", **rule} for place, rule in enumerate(rules)]
    config = {"chain": [{"name": "INGRESS", "default": "ACCEPT", "rule": entries}]}
    machine.load({})  # and what this leaves behind, the next edit takes away
    machine.load(config)
    machine.forget()
    assert machine.lookups()["INGRESS", 4] == lookups
    frame = MACS + b"\x08\x00" + ipv4(17, 0x0A000001, 0x0A000002, struct.pack("!HHHH", 1000, 53, 8, 1), None)
    frame = frame[:-2] + b"\x12\x34" if wrong else frame
    before, verdict = machine.too_deep(), machine.run("INGRESS", frame)
    counted = sum(packets for (_, rule), packets in machine.hits().items() if rule != "default")
    return verdict, counted, machine.too_deep() - before, Model(config, machine.lookups()).judge("INGRESS", frame)


@pytest.mark.parametrize(("logs", "lookups"), [(30, 63), (16, 127), (8, 255), (4, 512)])
def test_a_packet_may_match_as_many_as_the_docs_say(machine, logs, lookups):
    assert fate(machine, logs, lookups) == ("ACCEPT", logs, 0, "ACCEPT")


@pytest.mark.parametrize(("logs", "lookups"), [(33, 63), (17, 127), (9, 255), (5, 511)])
def test_with_more_it_is_dropped_for_a_reason_of_its_own(machine, logs, lookups):
    verdict, _, too_deep, model = fate(machine, logs, lookups)
    assert (verdict, too_deep, model) == ("DROP", 1, "TOO DEEP")


@pytest.mark.parametrize(("logs", "lookups"), [(15, 63), (8, 127), (4, 255), (0, 255)])
def test_of_a_wrong_checksum_it_may_match_half_as_many(machine, logs, lookups):
    assert fate(machine, logs, lookups, wrong=True) == ("ACCEPT", 2 * logs, 0, "ACCEPT")


@pytest.mark.parametrize(("logs", "lookups"), [(17, 63), (9, 127), (5, 255), (0, 256)])
def test_of_a_wrong_checksum_it_is_dropped_with_more(machine, logs, lookups):
    verdict, _, too_deep, model = fate(machine, logs, lookups, wrong=True)
    assert (verdict, too_deep, model) == ("DROP", 1, "TOO DEEP")

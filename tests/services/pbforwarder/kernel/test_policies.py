"""What becomes of frames, by random rules and by Polycube's own scripts, under each hook."""
from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lib.lab import HOOKS, Lab
from tests.lib.packets import Sniffer
from tests.services.pbforwarder.model import MAGIC, Rule, first, is_fragment, random_frame, random_rule, rewritten

pytestmark = pytest.mark.kernel
HOSTS = ["h1", "h2", "h3"]
PORTS = ["p1", "p2", "p3"]
BATCH = 40


def scenario(rules: list[Rule]) -> str:
    ports = [{"name": port, "peer": f"v{port[1:]}"} for port in PORTS]
    hosts = {host: f"10.0.0.{host[1:]}/24" for host in HOSTS}
    return json.dumps({"hosts": hosts, "cubes": [{"name": "pbf", "service-name": "pbforwarder", "ports": ports, "rules": rules}]})


def expected(rules: list[Rule], in_port: str, frame: bytes) -> tuple[str, bytes] | None:
    """The port, and the frame as it is then. None: it is dropped."""
    rule = first(rules, in_port, frame)
    if rule is None or rule.get("action") != "FORWARD":
        return None
    if any(leaf.startswith(("set_", "push_", "pop_")) for leaf in rule):
        frame = rewritten(rule, frame)
    return rule["out_port"], frame


def is_ours(frame: bytes) -> bool:
    return MAGIC in frame


def arrived(sniffer: Sniffer, count: int) -> list[bytes]:
    seen: list[bytes] = []
    deadline = time.monotonic() + 5
    while len(seen) < count and time.monotonic() < deadline:
        if (frame := sniffer.next(0.5, is_ours)) is not None:
            seen.append(frame)
    return seen + sniffer.all(0.002, is_ours)


def changes_what_scapy_cannot_sum(rules: list[Rule], in_port: str, frame: bytes) -> bool:
    """A fragment whose addresses or ports are set: its checksum covers what is in other fragments."""
    rule = first(rules, in_port, frame) or {}
    return is_fragment(frame) and any(leaf.startswith("set_") and leaf.endswith(("_ip", "_port")) for leaf in rule)


def differences(lab: Lab, rules: list[Rule], frames: int, seed: int) -> tuple[list[str], int]:
    """Where something else arrived than should, and how many frames were to arrive somewhere."""
    chance = random.Random(seed)
    sniffers = {port: lab.sniff(f"h{port[1:]}") for port in PORTS}
    found: list[str] = []
    forwarded = 0
    try:
        for start in range(0, frames, BATCH):
            sender = chance.choice(PORTS)
            batch = [random_frame(chance, start + each) for each in range(BATCH)]
            batch = [frame for frame in batch if not changes_what_scapy_cannot_sum(rules, sender, frame)]
            wanted: dict[str, list[bytes]] = {port: [] for port in PORTS}
            for frame in batch:
                way = expected(rules, sender, frame)
                if way is not None:
                    wanted[way[0]].append(way[1])
                    forwarded += 1
            lab.send(f"h{sender[1:]}", *batch)
            for port, copies in wanted.items():
                seen = arrived(sniffers[port], len(copies))
                if sorted(seen) != sorted(copies):
                    odd = [each.hex() for each in (*seen, *copies) if (each in seen) != (each in copies)]
                    found.append(f"seed {seed}, frames from {start} at {sender}: at {port} {len(seen)}, not {len(copies)}: {odd[:2]}")
            if found:
                break
    finally:
        for sniffer in sniffers.values():
            sniffer.__exit__()
    return found, forwarded


@pytest.fixture(params=HOOKS)
def hook(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def lab(hook: str, compiled_programs: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    monkeypatch.setenv("PCN_CACHE", str(compiled_programs))
    with Lab(scenario([]), hook=hook) as lab:
        lab.apply()
        yield lab


def set_rules(lab: Lab, rules: list[Rule]) -> int:
    """Rows that it took."""
    lab.cube("pbf")["rules"] = rules
    return lab.apply().plan.total("map writes")


def test_random_rules_decide_and_rewrite_as_the_reference_says(lab: Lab) -> None:
    seed = time.time_ns() & 0xFFFFFFFF
    chance = random.Random(seed)
    for count in (3, 40, 150):
        ids = sorted(chance.sample(range(5000), count))
        rules = [random_rule(chance, identifier, PORTS) for identifier in ids]
        set_rules(lab, rules)
        found, forwarded = differences(lab, rules, 400, seed + count)
        assert found == [], (seed, count)
        assert forwarded or count == 3


def dummies(count: int) -> list[Rule]:
    """Polycube's test scripts put the rules that count behind so many that match nothing."""
    return [
        {"id": 3 * number, "src_mac": f"02:ee:00:00:{number >> 8:02x}:{number & 255:02x}", "src_ip": f"203.0.{number >> 8}.{number & 255}",
         "l4_proto": "TCP", "dst_port": 5000 + number % 1000, "action": "DROP"}
        for number in range(count)
    ]  # fmt: skip


def pings(lab: Lab) -> list[Rule]:
    return [{"id": 100_000, "in_port": "p1", "action": "FORWARD", "out_port": "p2"}, {"id": 100_001, "in_port": "p2", "action": "FORWARD", "out_port": "p1"}]


LAYERS = {
    "layer 2": ({"src_mac": "h1", "dst_mac": None}, {"src_mac": "h2", "dst_mac": "h1"}),
    "layer 3": ({"src_ip": "10.0.0.1", "dst_ip": "10.0.0.2"}, {"src_ip": "10.0.0.2", "dst_ip": "10.0.0.1"}),
    "layer 4": ({"l4_proto": "UDP", "dst_port": 7}, {"l4_proto": "UDP", "src_port": 7}),
    "mixed": ({"src_mac": "h1", "dst_ip": "10.0.0.2", "l4_proto": "UDP", "dst_port": 7}, {"dst_mac": "h1", "src_ip": "10.0.0.2"}),
}


@pytest.mark.parametrize("count", [10, 100])
def test_polycubes_scripts_rules_of_each_layer_at_the_end_of_a_list(lab: Lab, count: int) -> None:
    """test_fwdl2, l3, l4 and mixed: the same questions, and answers; and without the rule nothing passes."""
    from tests.lib.packets import udp_exchange

    arp: list[Rule] = [{"id": 99_000 + at, "in_port": port, "ethertype": 2054, "action": "FORWARD", "out_port": out}
                       for at, (port, out) in enumerate((("p1", "p2"), ("p2", "p1")))]  # fmt: skip
    for name, ways in LAYERS.items():
        rules: list[Rule] = []
        for at, (way, (port, out)) in enumerate(zip(ways, (("p1", "p2"), ("p2", "p1")), strict=True)):
            asked = {leaf: lab.mac(value) if value in HOSTS else value for leaf, value in way.items() if value}
            rules.append({"id": 100_000 + at, "in_port": port, **asked, "action": "FORWARD", "out_port": out})
        set_rules(lab, [*dummies(count), *arp, *rules])
        assert udp_exchange(lab.space("h1"), lab.space("h2"), "10.0.0.2", 7) is not None, name
        set_rules(lab, [*dummies(count), *arp])
        assert udp_exchange(lab.space("h1"), lab.space("h2"), "10.0.0.2", 7, timeout=0.3) is None, name


def test_c25_f_pings_pass_by_rules_of_layers_2_and_3_behind_26_that_match_nothing(lab: Lab) -> None:
    """Polycube's chain test: 0 to 12 and 13 to 25 match nothing, 26 and 27 are the echoes, 28 and 29 ARP."""
    rules: list[Rule] = [
        *({"id": each, "src_mac": f"02:ee:00:00:00:{each:02x}", "action": "DROP"} for each in range(13)),
        *({"id": each, "src_ip": f"203.0.113.{each}", "dst_ip": "10.0.0.2", "action": "DROP"} for each in range(13, 26)),
        {"id": 26, "src_ip": "10.0.0.1", "dst_ip": "10.0.0.2", "action": "FORWARD", "out_port": "p2"},
        {"id": 27, "src_ip": "10.0.0.2", "dst_ip": "10.0.0.1", "action": "FORWARD", "out_port": "p1"},
        {"id": 28, "dst_mac": "ff:ff:ff:ff:ff:ff", "action": "FORWARD", "out_port": "p2"},
        {"id": 29, "dst_mac": lab.mac("h1"), "action": "FORWARD", "out_port": "p1"},
    ]
    set_rules(lab, rules)
    assert lab.ok("h1", "10.0.0.2")
    set_rules(lab, [rule for rule in rules if rule["id"] != 27])
    assert lab.ok("h1", "10.0.0.2"), "the answer is to h1's MAC: rule 29"
    set_rules(lab, [rule for rule in rules if rule["id"] not in (27, 29)])
    assert lab.fails("h1", "10.0.0.2")


def test_ten_thousand_rules_are_searched_and_an_edit_of_one_writes_a_few_rows(lab: Lab) -> None:
    rules = [*dummies(10_000), *pings(lab)]
    set_rules(lab, rules)
    assert lab.ok("h1", "10.0.0.2")
    assert lab.plan().plan.steps == ()
    edited = [rule if rule["id"] != 15_000 else {**rule, "dst_port": 4711} for rule in rules]
    rows = [set_rules(lab, edited), set_rules(lab, rules), set_rules(lab, [*rules[:777], *rules[778:]]), set_rules(lab, rules)]
    assert max(rows) <= 12, rows
    assert lab.drift() == []


def test_what_is_shown_is_what_was_written(lab: Lab) -> None:
    chance = random.Random(3)
    rules = [random_rule(chance, 7 * number, PORTS) for number in range(200)]
    set_rules(lab, rules)
    shown = lab.live_cube("pbf")["rules"]
    defaults = {"action": "DROP", "pop_vlan": False}
    assert [{**defaults, **rule} for rule in shown] == [{**defaults, **rule} for rule in rules]


def test_edits_under_traffic_lose_nothing(lab: Lab) -> None:
    """Every frame passes by one rule or by its successor, while lists of rules come and go."""
    from tests.services.pbforwarder.model import Ether, Raw, built

    base = pings(lab)
    set_rules(lab, base)
    frames = [built(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02", type=0x88B5) / Raw(MAGIC + bytes([each]) + bytes(50))) for each in range(20)]
    sniffer = lab.sniff("h2")
    sent = 0
    try:
        for turn in range(12):
            lists = [[{**base[0], "id": 50_000 + turn}, base[1]], [*dummies(30 + turn), *base], base]
            for rules in lists:
                lab.send("h1", *frames)
                set_rules(lab, rules)
                lab.send("h1", *frames)
                sent += 2 * len(frames)
        assert len(arrived(sniffer, sent)) == sent
    finally:
        sniffer.__exit__()
    assert lab.drops("pbf") == {} or not any(lab.drops("pbf").values())

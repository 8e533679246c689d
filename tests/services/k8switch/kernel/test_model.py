"""10,000 random packets through a switch, each compared, to the last byte, with what the model makes of it; and some that it must not pass."""
from __future__ import annotations

import contextlib
import random
from collections import Counter
from typing import Any

import pytest

from cubes.lib.macs import default_mac
from reconciler.kernel import programs
from reconciler.kernel.bpffs import Bpffs
from tests.lib.flow_frames import ICMP, ICMPV6, MACS, TCP, UDP, Fields, frame
from tests.services.k8switch.lab import NODE, PODS, REMOTE, VIPS, SwitchLab
from tests.services.k8switch.model import Model

pytestmark = pytest.mark.kernel
OWN = bytes.fromhex(default_mac("sw", "").replace(":", ""))
OUT = {4: "192.0.2.9", 6: "fd00:9::9"}
AFAR = {4: "198.51.100.7", 6: "fd00:99::7"}
PORTS = {"p1": 1, "p2": 2}


def services(lab: SwitchLab) -> None:
    for family in (4, 6):
        pods = [(PODS[family].format(number), 8080) for number in (1, 2)]
        far = [(REMOTE[family], 8080), (REMOTE[family], 9090)]
        for proto in ("TCP", "UDP"):
            lab.add(VIPS[family].format(10), 80, *pods, *far, proto=proto)
            lab.add(VIPS[family].format(11), 80, *pods, proto=proto)
            lab.add(VIPS[family].format(12), 81, *far, proto=proto)
            lab.add(VIPS[family].format(13), 80, proto=proto)
            lab.add(NODE[family], 30080, *pods, *far, proto=proto)


def request(chance: random.Random) -> tuple[str, Fields]:
    """A packet and the port that it comes by."""
    family = chance.choice((4, 6))
    proto = chance.choice((TCP, UDP))
    pods = [PODS[family].format(number) for number in (1, 2)]
    port, source = chance.choice((("p1", pods[0]), ("p2", pods[1]), ("node", NODE[family]), ("node", AFAR[family]), ("far", REMOTE[family]), ("outside", OUT[family])))
    target = chance.choice((*[VIPS[family].format(number) for number in (10, 11, 12, 13, 99)], *pods, NODE[family], NODE[family], AFAR[family], REMOTE[family]))
    said = Fields(family, proto, source, target, chance.randrange(1024, 1064), chance.choice((80, 80, 81, 30080, 8080, 443)), payload=chance.randbytes(chance.randrange(40)))
    if chance.random() < 0.05:
        said = said._replace(proto=ICMP if family == 4 else ICMPV6, dport=8 if family == 4 else 128)
    return port, said


def answer(chance: random.Random, model: Model) -> tuple[str, Fields] | None:
    """What a backend sends back on one of the flows that there are."""
    if not model.replies:
        return None
    proto, client, client_port, server, server_port = chance.choice(list(model.replies))
    family = 6 if ":" in server else 4
    port = next((name for name, number in PORTS.items() if server == PODS[family].format(number)), "far")
    return port, Fields(family, proto, server, client, server_port, client_port, flags=0x12, payload=chance.randbytes(9))


@pytest.mark.parametrize("hook", ["TC", pytest.param("XDP_DRV", marks=pytest.mark.exhaustive)])
def test_ten_thousand_packets_become_what_the_model_says(hook: str) -> None:
    chance = random.Random(19)
    with SwitchLab(hook=hook) as lab, contextlib.ExitStack() as stack:
        services(lab)
        lab.apply()
        model = Model(lab.cube("sw"))
        stubs = {name.partition("_")[2]: stack.enter_context(Bpffs(lab.root).opened(f"cubes/sw/in/{name}")) for name in lab.reader().names("cubes/sw/in")}
        seen: Counter[str] = Counter()
        for _ in range(10_000):
            port, said = (answer(chance, model) if chance.random() < 0.4 else None) or request(chance)
            verdict, out, _ = programs.test_run(stubs[port], frame(said))
            seen[compare(lab, model.sent(port, said), said, verdict, out)] += 1
        assert min(seen[kind] for kind in ("sent", "dropped", "reject", "echo")) > 50, seen
        assert not lab.drift()


def compare(lab: SwitchLab, wanted: Any, said: Fields, verdict: int, out: bytes) -> str:
    redirect, drop = (7, 2) if lab.hook == "TC" else (4, 1)
    if wanted is None:
        assert verdict == drop, said
        return "dropped"
    if isinstance(wanted, str):
        assert verdict in (redirect, drop), said  # answers are limited to so many a second
        if wanted == "echo":
            assert out[34 + (20 if said.family == 6 else 0)] in (0, 129), said
        return wanted
    assert verdict == redirect, said
    port, mac, fields = wanted
    macs = MACS[6:] + MACS[:6] if port == "outside" else bytes.fromhex(mac.replace(":", "")) + OWN
    assert out == frame(fields, macs), (said, fields)
    return "sent"


def test_a_source_that_is_not_behind_its_port_is_dropped() -> None:
    with SwitchLab() as lab, contextlib.ExitStack() as stack:
        lab.cube("sw")["check-source"] = True
        lab.apply()
        for name in lab.reader().names("cubes/sw/in"):
            stub = stack.enter_context(Bpffs(lab.root).opened(f"cubes/sw/in/{name}"))
            if name.endswith("_p1"):
                for family in (4, 6):
                    own = Fields(family, UDP, PODS[family].format(1), PODS[family].format(2), 1, 2)
                    assert programs.test_run(stub, frame(own))[0] == 7
                    for spoofed in (PODS[family].format(2), NODE[family], AFAR[family]):
                        assert programs.test_run(stub, frame(own._replace(src=spoofed)))[0] == 2
        assert lab.drops("sw")["15"] >= 6  # spoofed; the pods' own stacks may say something, too


def test_the_gateway_of_polycubes_documents_is_for_all_others() -> None:
    """Its entry has the address of the pods' network, and there is no default."""
    with SwitchLab() as lab, contextlib.ExitStack() as stack:
        table = lab.cube("sw")["fwd-table"]
        table[:] = [each for each in table if not each["address"].endswith("/0")]
        for added, verdict in (([], 2), ([{"address": "10.244.1.0", "mac": "02:00:00:00:00:03", "port": "node"}], 7)):
            table += added
            lab.apply()
            name = next(name for name in lab.reader().names("cubes/sw/in") if name.endswith("_p1"))
            stub = stack.enter_context(Bpffs(lab.root).opened(f"cubes/sw/in/{name}"))
            found = programs.test_run(stub, frame(Fields(4, UDP, PODS[4].format(1), AFAR[4], 1, 2)))
            assert found[0] == verdict
        assert found[1][:6] == bytes.fromhex("020000000003")


@pytest.mark.exhaustive
def test_a_node_has_250_pods() -> None:
    with SwitchLab() as lab, contextlib.ExitStack() as stack:
        lab.cube("sw")["ports"] += [{"name": f"more{number}"} for number in range(246)]
        macs = [f"02:00:00:01:00:{number:02x}" for number in range(246)]
        lab.cube("sw")["fwd-table"] += [{"address": f"10.244.1.{number}/32", "mac": mac, "port": f"more{number - 5}"} for number, mac in
                                        zip(range(5, 251), macs, strict=True) if number not in (11, 12)]  # fmt: skip
        lab.apply()
        names = {name.partition("_")[2]: name for name in lab.reader().names("cubes/sw/in")}
        assert len(names) == 251
        stub = stack.enter_context(Bpffs(lab.root).opened(f"cubes/sw/in/{names['more245']}"))
        assert programs.test_run(stub, frame(Fields(4, UDP, "10.244.1.250", PODS[4].format(1), 1, 2)))[0] == 7
        own = stack.enter_context(Bpffs(lab.root).opened(f"cubes/sw/in/{names['p1']}"))
        before = lab.drops("sw").get("NO_PEER", 0)
        assert programs.test_run(own, frame(Fields(4, UDP, PODS[4].format(1), "10.244.1.250", 1, 2)))[0] == 2  # its port leads nowhere yet
        assert lab.drops("sw")["NO_PEER"] == before + 1

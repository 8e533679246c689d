"""10,000 random packets through a dispatcher, each compared, to the last byte, with what a model makes of it. Ports that the kernel chooses are read
from what it sends, and must be free, in their range, and the same for all of a flow.
"""
from __future__ import annotations

import contextlib
import ipaddress
import random
from collections import Counter

import pytest

from reconciler.check import check
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.kernel import programs
from reconciler.kernel.bpffs import Bpffs
from reconciler.service.registry import Services
from tests.lib.flow_frames import TCP, UDP, Fields, frame
from tests.services.k8sdispatcher.lab import INTERNAL, NODE, OUT, POD, DispatcherLab

AFAR = {4: "198.51.100.7", 6: "fd00:99::7"}
PEER = {4: "10.244.2.5", 6: "fd00:244:2::5"}  # a pod of another node
EXTERNAL = "203.0.113.1"
CLUSTER, LOCAL = 30080, 30081
SYN, ACK, RST = 0x02, 0x10, 0x04
End = tuple[str, int]
Tuple = tuple[int, End, End]  # protocol, near, far


class Model:
    def __init__(self) -> None:
        self.sessions: dict[Tuple, End] = {}
        self.ways: dict[Tuple, End] = {}

    def policy(self, said: Fields, address: str, port: int) -> str:
        if address == EXTERNAL:
            return "CLUSTER" if said.proto == UDP and port == 53 else ""
        if address != NODE[said.family]:
            return ""
        return {CLUSTER: "CLUSTER", LOCAL: "LOCAL"}.get(port, "")

    def sent(self, from_pods: bool, said: Fields, out: bytes) -> Fields | str:
        """The fields of what goes to the other side, "host" or "dropped". `out` is what the kernel sent."""
        near, far = (said.src, said.sport), (said.dst, said.dport)
        began = self.ways.get((said.proto, far, near))
        if began is not None:
            return said._replace(dst=began[0], dport=began[1])
        if from_pods:
            internal = said.dst.startswith(("10.244.", "fd00:244:"))
            if said.src == NODE[said.family] or internal or self.policy(said, said.src, said.sport):
                return said
            return self._translated(said, NODE[said.family], 1024, 29999, out)
        policy = self.policy(said, said.dst, said.dport)
        if policy == "CLUSTER":
            return self._translated(said, INTERNAL[said.family], 1024, 65535, out)
        if policy == "LOCAL" or (said.dst.startswith(("10.244.", "fd00:244:"))):
            return said
        return "host"

    def _translated(self, said: Fields, address: str, low: int, high: int, out: bytes) -> Fields | str:
        key: Tuple = (said.proto, (said.src, said.sport), (said.dst, said.dport))
        if key not in self.sessions:
            if said.proto == TCP and said.flags & 0x17 not in (SYN, ACK):
                return "dropped"
            port = int.from_bytes(out[34:36] if said.family == 4 else out[54:56], "big")
            way: Tuple = (said.proto, (address, port), key[2])
            assert low <= port <= high, said
            assert way not in self.ways, "two flows have one tuple"
            assert port == said.sport or not low <= said.sport <= high or (said.proto, (address, said.sport), key[2]) in self.ways, "its own port was free"
            self.sessions[key], self.ways[way] = (address, port), key[1]
        outer = self.sessions[key]
        return said._replace(src=outer[0], sport=outer[1])


def packet(chance: random.Random, model: Model) -> tuple[bool, Fields]:
    """(whether it comes from the pods' side, the packet)."""
    family, proto = chance.choice((4, 6)), chance.choice((TCP, UDP))
    flags = chance.choice((SYN, ACK, ACK, ACK | 8, SYN | ACK)) if proto == TCP else 0
    port, payload = chance.randrange(29980, 30020), chance.randbytes(chance.randrange(40))
    if model.ways and chance.random() < 0.4:
        proto, near, far = chance.choice(list(model.ways))
        family = 6 if ":" in near[0] else 4
        from_pods = near[0] == INTERNAL[family]
        return from_pods, Fields(family, proto, far[0], near[0], far[1], near[1], flags=ACK, payload=payload)
    if chance.random() < 0.5:
        source = chance.choice((POD[family], POD[family], NODE[family]))
        target = chance.choice((OUT[family], AFAR[family], PEER[family]))
        return True, Fields(family, proto, source, target, chance.choice((port, CLUSTER, LOCAL)), chance.choice((80, 443)), flags=flags, payload=payload)
    source, target = chance.choice((OUT[family], AFAR[family])), chance.choice((NODE[family], NODE[family], POD[family], AFAR[family]))
    if family == 4 and chance.random() < 0.1:
        target = EXTERNAL
    return False, Fields(family, proto, source, target, port, chance.choice((CLUSTER, LOCAL, 22, 53)), flags=flags, payload=payload)


@pytest.mark.kernel
@pytest.mark.parametrize("hook", ["TC", pytest.param("XDP_DRV", marks=pytest.mark.exhaustive)])
def test_ten_thousand_packets_become_what_the_model_says(hook: str) -> None:
    chance, model, seen = random.Random(7), Model(), Counter[str]()
    passed, dropped, redirected = (0xFFFFFFFF, 2, 7) if hook == "TC" else (2, 1, 4)
    with DispatcherLab(hook=hook) as lab, contextlib.ExitStack() as stack:
        lab.apply()
        stubs = {name.partition("_")[2]: stack.enter_context(Bpffs(lab.root).opened(f"cubes/disp/in/{name}")) for name in lab.reader().names("cubes/disp/in")}
        for _ in range(10_000):
            from_pods, said = packet(chance, model)
            verdict, out, _ = programs.test_run(stubs["pods" if from_pods else "nic"], frame(said))
            wanted = model.sent(from_pods, said, out)
            if isinstance(wanted, str):
                assert verdict == (passed if wanted == "host" else dropped), said
                seen[wanted] += 1
                continue
            assert verdict == redirected, said
            assert out == frame(wanted), (said, wanted)
            seen["as it is" if wanted == said else "translated"] += 1
        assert min(seen[kind] for kind in ("host", "dropped", "as it is", "translated")) > 30, seen
        told = {(each["src-ip"], each["src-port"], each["new-port"]) for each in lab.sessions() if each["operation"] == "XLATE_SRC"}
        assert {(str(ipaddress.ip_address(key[1][0])), key[1][1], outer[1]) for key, outer in model.sessions.items()} == told


HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes:\n    - name: d\n      service-name: k8sdispatcher\n"


@pytest.mark.parametrize(("leaves", "sentence"), [
    ("nodeport-range: 32767-30000", "32767-30000 is no range of ports"),
    ("port-range: 1024-40000", "1024-40000 and 30000-32767 overlap: a pod's connection could get the port of a service"),
    ("ports: [{name: a, type: BACKEND, ip: 10.0.0.1}]", "only the FRONTEND port has the node's address"),
    ("ports: [{name: a, type: BACKEND}, {name: b, type: BACKEND}]", "there is a BACKEND port already, and there can be one"),
    ("nodeport-rule: [{nodeport-port: 0, proto: TCP}]", "a rule with proto TCP needs a port: 0 is none"),
    ("external-rule: [{ip: 224.0.0.1, port: 80, proto: TCP}]", "224.0.0.1 is no address that a host can have"),
    ("internal-src-ip: 127.0.0.1", "127.0.0.1 is no address that a host can have"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(leaves: str, sentence: str) -> None:
    with pytest.raises(DocumentError) as error:
        check(parse(HEAD + f"      {leaves}\n", "f.yaml"), Services())
    assert sentence in [problem.message for problem in error.value.problems]


def test_a_document_of_polycubes_is_accepted() -> None:
    text = HEAD + """      type: TC
      ports: [{name: to_int, type: BACKEND}, {name: to_nic, type: FRONTEND, ip: 10.10.1.1}]
      internal-src-ip: 10.10.1.100
      nodeport-range: 30000-32767
      nodeport-rule:
        - {nodeport-port: 30500, proto: TCP, external-traffic-policy: LOCAL, rule-name: my-rule}
        - {nodeport-port: 30500, proto: UDP}
"""
    check([*parse(text, "f.yaml")], Services())

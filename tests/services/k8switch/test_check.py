"""What a switch of pods refuses, and what of Polycube's it takes: without a kernel."""
from __future__ import annotations

import pytest

from reconciler.check import check
from reconciler.document.load import parse
from reconciler.errors import DocumentError
from reconciler.service.registry import Services

HEAD = "apiVersion: polycube.network/v1\nkind: Topology\nmetadata: {name: t}\nspec:\n  cubes:\n    - name: s\n      service-name: k8switch\n"
POLYCUBES = """      type: TC
      cluster-ip-subnet: 10.96.0.0/12
      client-subnet: 192.168.1.0/24
      virtual-client-subnet: 10.10.1.0/24
      ports: [{name: toStack, type: DEFAULT}, {name: toNodePort, type: NODEPORT}, {name: pod1}]
      fwd-table:
        - {address: 192.168.1.5, mac: "C5:13:2D:36:27:9B", port: pod1}
        - {address: 192.168.1.0/32, mac: "02:00:00:00:00:01", port: toStack}
      service:
        - {vip: 10.96.0.10, vport: 53, proto: UDP, name: dns, backend: [{ip: 192.168.1.5, port: 53, name: one, weight: 1}]}
"""


def test_a_document_of_polycubes_is_accepted() -> None:
    check([*parse(HEAD + POLYCUBES, "f.yaml")], Services())


@pytest.mark.parametrize(("leaves", "sentence"), [
    ("client-subnet: 10.0.0.7/24", "10.0.0.7/24 has bits behind its prefix: 10.0.0.0/24 is the network"),
    ("client-subnet: 0.0.0.0/0", "0.0.0.0/0 is all addresses, and no network"),
    ("virtual-client-subnet: 10.0.0.0/24", "it needs client-subnet: without it no address is a pod's"),
    ("{client-subnet: 10.1.0.0/24, virtual-client-subnet: 10.2.0.0/25}", "/25 is not as long as /24 of client-subnet"),
    ("{client-subnet: 10.1.0.0/30, virtual-client-subnet: 10.2.0.0/30}", "10.2.0.0/30 has fewer than 8 addresses"),
    ("{client-subnet: 10.1.0.0/16, cluster-ip-subnet: 10.1.2.0/24}", "10.1.0.0/16 overlaps cluster-ip-subnet, 10.1.2.0/24"),
    ('fwd-table: [{address: 10.0.0.1/32, mac: "02:00:00:00:00:01", port: nowhere}]', '"s" has no port "nowhere"'),
    ("service: [{vip: 10.0.0.1, vport: 80, proto: TCP, backend: [{ip: 'fd00::1', port: 80}]}]", "fd00::1 is no backend for 10.0.0.1: the families differ"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(leaves: str, sentence: str) -> None:
    text = "".join(f"      {line}\n" for line in leaves.strip("{}").split(", ")) if leaves.startswith("{") else f"      {leaves}\n"
    with pytest.raises(DocumentError) as error:
        check(parse(HEAD + text, "f.yaml"), Services())
    assert any(sentence in problem.message for problem in error.value.problems), [problem.message for problem in error.value.problems]

"""Which change is of which class: none, connections cut, state reset, packets lost. Planned between two files, as in a review."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from reconciler.document import Document
from reconciler.document.emitter import dump_yaml
from reconciler.document.load import parse
from reconciler.engine.apply import Options
from reconciler.engine.offline import plan_between
from reconciler.plan.steps import Disruption

NONE, CUT, RESET, LOST = Disruption
Spec = dict[str, Any]
Edit = Callable[[Spec], Any]

FIREWALL: Spec = {
    "cubes": [
        {"name": "fw", "service-name": "firewall", "pick-up": "OFF", "chain": [{"name": "INGRESS", "default": "DROP", "rule": [
            {"id": 1, "l4proto": "TCP", "dport": 22, "conntrack": "NEW", "action": "ACCEPT"}]}]},
    ],
    "attachments": [{"netdev": "eth9", "tcubes": ["fw"]}],
}  # fmt: skip
LINKS: Spec = {
    "links": [{"name": "v1", "kind": "veth", "addresses": ["10.0.0.1/24"], "peer": {"name": "v2"}}, {"name": "spare", "kind": "bridge"}],
}  # fmt: skip
BRIDGE: Spec = {"cubes": [{"name": "br", "service-name": "bridge", "ports": [{"name": "p1", "peer": "v1"}, {"name": "p2", "peer": "v2"}]}]}
NAT: Spec = {
    "cubes": [
        {"name": "r1", "service-name": "router", "ports": [{"name": "out", "peer": "v1", "ip": "192.0.2.1/24", "tcubes": ["n1"]}]},
        {"name": "n1", "service-name": "nat", "rule": {"snat": {"entry": [{"id": 1, "internal-net": "10.0.0.0/8", "external-ip": "192.0.2.1"}]}}},
    ],
}  # fmt: skip
BALANCER: Spec = {
    "cubes": [
        {"name": "lb", "service-name": "lbrp", "ports": [{"name": "c", "peer": "v1", "type": "FRONTEND"}, {"name": "s", "peer": "v2", "type": "BACKEND"}],
         "service": [{"vip": "192.0.2.10", "vport": 80, "proto": "TCP", "backend": [{"ip": "10.0.0.1", "port": 80}, {"ip": "10.0.0.2", "port": 80}]}]},
    ],
}  # fmt: skip


def backends(spec: Spec) -> list[Spec]:
    return spec["cubes"][0]["service"][0]["backend"]  # type: ignore[no-any-return]


def snat(spec: Spec) -> list[Spec]:
    return spec["cubes"][1]["rule"]["snat"]["entry"]  # type: ignore[no-any-return]


def fw(**leaves: Any) -> Edit:
    return lambda spec: spec["cubes"][0].update(leaves)


def both(*edits: Edit) -> Edit:
    return lambda spec: [edit(spec) for edit in edits]


def gone(name: str) -> Edit:
    return lambda spec: spec.pop(name)


PICKED_UP, NO_RULES, PASSING = fw(**{"pick-up": "ON"}), fw(chain=[{"name": "INGRESS", "default": "DROP"}]), fw(chain=[])
STRICT_CHAINS = fw(chain=[{"name": "INGRESS", "rule": [{"id": 1, "conntrack": "INVALID", "action": "DROP"}]}])


def nothing(_: Spec) -> None:
    """The file as it is above."""


CASES: dict[str, tuple[Spec, Edit, Edit, Disruption]] = {
    "a firewall that takes up nothing comes": (FIREWALL, gone("attachments"), nothing, CUT),
    "one that is not seen before": (FIREWALL, lambda spec: spec.clear(), nothing, CUT),
    "one that takes up what is older": (FIREWALL, both(gone("attachments"), PICKED_UP), PICKED_UP, NONE),
    "one that would, and accepts nothing from outside": (FIREWALL, both(gone("attachments"), PICKED_UP, NO_RULES), both(PICKED_UP, NO_RULES), CUT),
    "one that accepts all that is INVALID, too": (FIREWALL, both(gone("attachments"), PASSING), PASSING, NONE),
    "one that accepts all but what is INVALID": (FIREWALL, both(gone("attachments"), STRICT_CHAINS), STRICT_CHAINS, CUT),
    "it begins to track": (FIREWALL, fw(conntrack="OFF"), nothing, CUT),
    "it tracks already": (FIREWALL, PICKED_UP, nothing, NONE),
    "a rule of it goes": (FIREWALL, nothing, NO_RULES, NONE),
    "it is attached no more": (FIREWALL, nothing, gone("attachments"), NONE),
    "it goes, with what it knows": (FIREWALL, nothing, lambda spec: spec.clear(), RESET),
    "it moves to XDP": (FIREWALL, nothing, fw(type="XDP_SKB"), RESET),
    "a bridge comes": (BRIDGE, lambda spec: spec.clear(), nothing, NONE),
    "a port of it goes": (BRIDGE, nothing, lambda spec: spec["cubes"][0]["ports"].pop(), LOST),
    "an address goes": (LINKS, nothing, lambda spec: spec["links"][0].update(addresses=[]), CUT),
    "an address is another": (LINKS, nothing, lambda spec: spec["links"][0].update(addresses=["10.0.0.2/24"]), CUT),
    "only its prefix is": (LINKS, nothing, lambda spec: spec["links"][0].update(addresses=["10.0.0.1/16"]), NONE),
    "an address comes": (LINKS, nothing, lambda spec: spec["links"][0]["addresses"].append("10.0.0.2/24"), NONE),
    "a netdev goes with its address": (LINKS, nothing, lambda spec: spec["links"].pop(0), CUT),
    "one that has none": (LINKS, nothing, lambda spec: spec["links"].pop(), NONE),
    "a netdev is made anew": (LINKS, nothing, lambda spec: spec["links"][0]["peer"].update(name="v3"), LOST),
    "a nat's rule goes": (NAT, nothing, lambda spec: snat(spec).pop(), CUT),
    "a nat's rule is another": (NAT, nothing, lambda spec: snat(spec)[0].update({"internal-net": "10.9.0.0/16"}), CUT),
    "a nat's rule comes": (NAT, nothing, lambda spec: snat(spec).append({"id": 2, "internal-net": "172.16.0.0/12", "external-ip": "192.0.2.1"}), NONE),
    "a backend goes": (BALANCER, nothing, lambda spec: backends(spec).pop(), CUT),
    "a backend is down": (BALANCER, nothing, lambda spec: backends(spec)[0].update(state="DOWN"), CUT),
    "a backend drains": (BALANCER, nothing, lambda spec: backends(spec)[0].update(state="DRAINING"), NONE),
    "a backend comes": (BALANCER, nothing, lambda spec: backends(spec).append({"ip": "10.0.0.3", "port": 80}), NONE),
}  # fmt: skip


def edited(spec: Spec, edit: Edit) -> list[Document]:
    found = copy.deepcopy(spec)
    edit(found)
    whole = {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "t"}, "spec": found}
    return parse(dump_yaml(whole), "t.yaml")


@pytest.mark.parametrize("case", CASES)
def test_the_class_of_a_change(case: str) -> None:
    spec, old, new, wanted = CASES[case]
    plan = plan_between(edited(spec, old), edited(spec, new), Options()).plan
    felt = [(step.address, str(step.disruption), step.cuts) for step in plan.steps if step.disruption]
    assert plan.disruption == wanted, felt
    assert plan.steps
    if wanted == CUT:
        assert all(step.cuts for step in plan.steps if step.disruption == CUT)
    assert [step for step in plan.steps if step.cuts and step.disruption < CUT] == []

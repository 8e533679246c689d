"""Administrators' policies against the API's own words: random clusters, tiers and flows, and what the rules say of each."""
from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from providers.kubernetes.policies import policy_cube
from providers.kubernetes.state import Attached, State
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.admin_model import may_pass_all_tiers
from tests.providers.kubernetes.policy_model import Flow
from tests.providers.kubernetes.test_policies import PROTOCOLS, Rules, cluster, selector

NODES = {"192.0.2.1": {"role": "a"}, "192.0.2.2": {"role": "b", "v": "1"}}


def pods_of(rng: random.Random) -> dict[str, Any]:
    spaces = selector(rng, ("team", "tier"), ("b", "g", "x"))
    return {"namespaces": spaces} if rng.random() < 0.5 else {"pods": {"namespaceSelector": spaces, "podSelector": selector(rng)}}


def rule(rng: random.Random, way: str, actions: tuple[str, ...]) -> dict[str, Any]:
    side = "from" if way == "ingress" else "to"
    found: dict[str, Any] = {"action": rng.choice(actions), side: [peer(rng, way) for _ in range(rng.randint(1, 2))]}
    if rng.random() < 0.6:
        named = not any("nodes" in each or "networks" in each for each in found[side])  # the API refuses a port's name beside these
        found["ports"] = [port(rng, named) for _ in range(rng.randint(1, 2))]
    return found


def peer(rng: random.Random, way: str) -> dict[str, Any]:
    kind = rng.random()
    if way == "egress" and kind < 0.15:
        return {"nodes": selector(rng, ("role", "v"), ("a", "b", "1"))}
    if way == "egress" and kind < 0.35:
        return {"networks": rng.sample(("10.244.0.0/16", "10.244.2.0/24", "0.0.0.0/0", "203.0.113.0/24", "192.0.2.0/24"), rng.randint(1, 2))}
    return pods_of(rng)


def port(rng: random.Random, named: bool) -> dict[str, Any]:
    match rng.randint(0, 2 if named else 1):
        case 0:
            return {"portNumber": {"protocol": rng.choice(PROTOCOLS), "port": rng.choice((80, 8080, 53))}}
        case 1:
            return {"portRange": {"protocol": rng.choice(PROTOCOLS), "start": rng.choice((50, 80)), "end": rng.choice((80, 100))}}
    return {"namedPort": rng.choice(("http", "dns"))}


def tier(rng: random.Random, name: str, actions: tuple[str, ...], **more: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"subject": pods_of(rng), **more}
    for way in ("ingress", "egress"):
        if rng.random() < 0.8:
            spec[way] = [rule(rng, way, actions) for _ in range(rng.randint(1, 4))]
    return {"metadata": {"name": name}, "spec": spec}


def tiers(rng: random.Random) -> tuple[State, dict[str, dict[str, Any]]]:
    state, by_address = cluster(rng)
    nodes = {("", f"n{at}"): {**objects.node(f"n{at}", ("10.244.9.0/24",), address), "metadata": {"name": f"n{at}", "labels": labels}}
             for at, (address, labels) in enumerate(NODES.items(), 1)}  # fmt: skip
    priorities = rng.sample(range(1000), rng.randint(0, 3))
    admin = {("", f"anp{each}"): tier(rng, f"anp{each}", ("Allow", "Deny", "Pass"), priority=each) for each in priorities}
    baseline = {("", "default"): tier(rng, "default", ("Allow", "Deny"))} if rng.random() < 0.7 else {}
    policies = state.policies if rng.random() < 0.7 else {}
    return replace(state, nodes=nodes, policies=policies, admin_policies=admin, baseline_policies=baseline), by_address


def differences(seed: int, flows: int) -> list[str]:
    rng = random.Random(seed)
    state, by_address = tiers(rng)
    notes: list[str] = []
    rules = Rules(policy_cube(state, "n1", ["198.51.100.1"], notes))
    assert notes == []
    addresses = [*by_address, *NODES, "203.0.113.9"]
    wrong = []
    for _ in range(flows):
        src, dst = rng.sample(addresses, 2)
        flow = Flow(src, dst, rng.choice(("TCP", *PROTOCOLS, "ICMP")), rng.choice((50, 53, 80, 81, 8080)))
        for way, end, chain in (("egress", src, "EGRESS"), ("ingress", dst, "INGRESS")):
            pod = by_address.get(end)
            if pod is None or pod["spec"]["nodeName"] != "n1":
                continue
            wanted, said = may_pass_all_tiers(state, by_address, flow, way), rules.accepts(chain, flow)
            if wanted != said:
                wrong.append(f"seed {seed}: {way} of {flow}: the API says {wanted}, the rules {said}")
    return wrong


def test_rules_say_what_the_api_says_of_random_tiers():
    wrong = [words for seed in range(150) for words in differences(seed, 100)]
    assert not wrong, "\n".join(wrong[:5])


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_rules_say_what_the_api_says_of_two_hundred_thousand_flows():
    wrong = [words for seed in range(1000, 3000) for words in differences(seed, 100)]
    assert not wrong, "\n".join(wrong[:5])


def one_pod(**policies: Any) -> State:
    pods = {("default", "a"): objects.pod("a", "n1")}
    return State(pods=pods, namespaces={("", "default"): objects.namespace("default")}, attached={("default", "a"): Attached(0, ("10.244.1.8",))}, **policies)


def denying(peer: dict[str, Any], action: str = "Deny") -> dict[Any, Any]:
    return {("", "x"): {"metadata": {"name": "x"}, "spec": {"priority": 1, "subject": {"namespaces": {}}, "egress": [{"action": action, "to": [peer], "name": "shut"}]}}}


def test_a_peer_of_a_kind_that_is_not_known_allows_nobody_and_denies_everybody():
    for action, reaches in (("Deny", False), ("Allow", True), ("Pass", True)):
        notes: list[str] = []
        baseline = denying({"networks": ["203.0.113.0/24"]}) if action != "Deny" else {}
        rules = Rules(policy_cube(one_pod(admin_policies=denying({"domainNames": ["*.example.org"]}, action), baseline_policies=baseline), "n1", [], notes))
        assert notes == ["AdminNetworkPolicy x, shut: domainNames is not known here: it allows nobody, and denies everybody"]
        assert rules.accepts("EGRESS", Flow("10.244.1.8", "192.0.2.1", "TCP", 80)) == reaches
        assert not rules.accepts("EGRESS", Flow("10.244.1.8", "203.0.113.1", "TCP", 80))


def test_who_refuses_is_named_and_logged():
    cube = policy_cube(one_pod(admin_policies=denying({"networks": ["0.0.0.0/0"]})), "n1", [], [], log=True)
    found = [(rule["action"], rule.get("log-prefix"), rule["description"]) for rule in cube["chain"][1]["rule"][1:]]
    assert found == [("LOG", "refused: ", "AdminNetworkPolicy x, shut"), ("DROP", None, "AdminNetworkPolicy x, shut")]

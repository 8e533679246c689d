"""NetworkPolicies against the API's own words: random clusters, policies and flows, and what the rules say of each."""
from __future__ import annotations

import ipaddress
import random
from typing import Any

import pytest

from cubes.firewall import programs, sizes
from providers.kubernetes.policies import policy_cube
from providers.kubernetes.state import Attached, State
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.policy_model import Flow, may_pass

SPACES = {"blue": {"team": "b", "tier": "x"}, "green": {"team": "g"}}
LABELS = ({"app": "a"}, {"app": "b"}, {"app": "a", "v": "1"}, {"app": "c", "v": "2"}, {})
PROTOCOLS = ("TCP", "UDP", "SCTP")


def cluster(rng: random.Random) -> tuple[State, dict[str, dict[str, Any]]]:
    """A state as node n1 has it, and the pods by address."""
    pods, attached, by_address = {}, {}, {}
    for number in range(rng.randint(4, 9)):
        space, here = rng.choice(list(SPACES)), rng.random() < 0.6
        ip = f"10.244.{1 if here else 2}.{10 + number}"
        name = f"p{number}"
        ports = [{"name": rng.choice(("http", "dns")), "containerPort": rng.choice((80, 8080, 53)), "protocol": rng.choice(PROTOCOLS)}
                 for _ in range(rng.randint(0, 2))]  # fmt: skip
        found = objects.pod(name, "n1" if here else "n2", space=space, ips=() if here else (ip,), ports=ports, **rng.choice(LABELS))
        pods[space, name] = found
        by_address[ip] = found
        if here:
            attached[space, name] = Attached(number, (ip,))
    spaces = {("", name): objects.namespace(name, **labels) for name, labels in SPACES.items()}
    found = {(p["metadata"]["namespace"], p["metadata"]["name"]): p for p in (policy(rng, n) for n in range(rng.randint(1, 4)))}
    return State(namespaces=spaces, pods=pods, policies=found, attached=attached), by_address


def policy(rng: random.Random, number: int) -> dict[str, Any]:
    spec: dict[str, Any] = {"podSelector": selector(rng) if rng.random() < 0.5 else {}}
    for way, side in (("ingress", "from"), ("egress", "to")):
        if rng.random() < 0.8:
            spec[way] = [rule(rng, side) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.6:
        spec["policyTypes"] = rng.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    return {"metadata": {"namespace": rng.choice(list(SPACES)), "name": f"np{number}"}, "spec": spec}


def rule(rng: random.Random, side: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if rng.random() < 0.8:
        found[side] = [peer(rng) for _ in range(rng.randint(1, 2))]
    if rng.random() < 0.7:
        found["ports"] = [port(rng) for _ in range(rng.randint(1, 2))]
    return found


def port(rng: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = {"protocol": rng.choice(PROTOCOLS)} if rng.random() < 0.5 else {}
    match rng.randint(0, 3):
        case 0:
            found["port"] = rng.choice((80, 8080, 53))
        case 1:
            found["port"] = rng.choice(("http", "dns"))
        case 2:
            found |= {"port": rng.choice((50, 80)), "endPort": rng.choice((80, 100))}
    return found


def peer(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.25:
        cidr = rng.choice(("10.244.0.0/16", "10.244.1.0/24", "0.0.0.0/0", "192.0.2.0/24"))
        inner = [rng.choice(("10.244.1.8/29", "10.244.2.0/28", "192.0.2.128/25", "10.244.1.9/32")) for _ in range(rng.randint(0, 2))]
        fits = [each for each in inner if ipaddress.ip_network(each).subnet_of(ipaddress.ip_network(cidr))]
        return {"ipBlock": {"cidr": cidr, **({"except": fits} if fits else {})}}
    found: dict[str, Any] = {}
    if rng.random() < 0.6:
        found["podSelector"] = selector(rng)
    if rng.random() < 0.6 or not found:
        found["namespaceSelector"] = selector(rng, ("team", "tier"), ("b", "g", "x"))
    return found


def selector(rng: random.Random, keys: tuple[str, ...] = ("app", "v"), values: tuple[str, ...] = ("a", "b", "1", "2")) -> dict[str, Any]:
    match rng.randint(0, 3):
        case 0:
            return {}
        case 1:
            return {"matchLabels": {rng.choice(keys): rng.choice(values)}}
    operator = rng.choice(("In", "NotIn", "Exists", "DoesNotExist"))
    said = {"values": rng.sample(values, rng.randint(1, 2))} if operator in ("In", "NotIn") else {}
    return {"matchExpressions": [{"key": rng.choice(keys), "operator": operator, **said}]}


class Rules:
    """What a firewall of this document says of a new connection: first match, then the default."""

    def __init__(self, cube: dict[str, Any]) -> None:
        self.sets = {each["name"]: [ipaddress.ip_network(p) for p in each["prefix"]] for each in cube.get("set", ())}
        self.chains = {chain["name"]: chain["rule"] for chain in cube["chain"]}

    def accepts(self, chain: str, flow: Flow) -> bool:
        for rule in self.chains[chain]:
            if self._matches(rule, flow):
                return rule["action"] == "ACCEPT"
        return True

    def _matches(self, rule: dict[str, Any], flow: Flow) -> bool:
        if "conntrack" in rule:
            return "NEW" in rule["conntrack"]
        for end, address in (("src", flow.src), ("dst", flow.dst)):
            found = ipaddress.ip_address(address)
            if end in rule and found not in ipaddress.ip_network(rule[end]):
                return False
            if f"{end}-set" in rule:
                name = rule[f"{end}-set"]
                if any(found in net for net in self.sets[name.lstrip("!")]) == name.startswith("!"):
                    return False
        if "l4proto" in rule and rule["l4proto"] != flow.protocol:
            return False
        if "dport" not in rule:
            return True
        first, _, last = str(rule["dport"]).partition("-")
        return int(first) <= flow.port <= int(last or first)


def differences(seed: int, flows: int) -> list[str]:
    rng = random.Random(seed)
    state, by_address = cluster(rng)
    rules = Rules(policy_cube(state, "n1", ["192.0.2.1"], []))
    addresses = [*by_address, "192.0.2.1", "192.0.2.200", "203.0.113.9"]
    wrong = []
    for _ in range(flows):
        src, dst = rng.sample(addresses, 2)
        flow = Flow(src, dst, rng.choice(("TCP", *PROTOCOLS, "ICMP")), rng.choice((50, 53, 80, 81, 8080)))
        for way, end, chain in (("egress", src, "EGRESS"), ("ingress", dst, "INGRESS")):
            pod = by_address.get(end)
            if pod is None or pod["spec"]["nodeName"] != "n1" or (way == "ingress" and src == "192.0.2.1"):
                continue  # not this node's to decide; or its kubelet, which may always come
            wanted, said = may_pass(state, by_address, flow, way), rules.accepts(chain, flow)
            if wanted != said:
                wrong.append(f"seed {seed}: {way} of {flow}: the API says {wanted}, the rules {said}")
    return wrong


def test_rules_say_what_the_api_says_of_random_clusters():
    wrong = [words for seed in range(80) for words in differences(seed, 100)]
    assert not wrong, "\n".join(wrong[:5])


def test_a_firewall_without_policies_has_all_programs_and_rows_that_policies_need():
    """So the first policy of whatever kind writes rows only."""
    without = policy_cube(State(), "n1", ["192.0.2.1"], [])
    for seed in range(40):
        state, _ = cluster(random.Random(seed))
        for log in (False, True):
            cube = policy_cube(state, "n1", ["192.0.2.1"], [], log=log)
            assert (programs(cube), sizes(cube)) == (programs(without), sizes(without)), f"seed {seed}"


@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_rules_say_what_the_api_says_a_hundred_thousand_times():
    wrong = [words for seed in range(1000, 2000) for words in differences(seed, 200)]
    assert not wrong, "\n".join(wrong[:5])


def test_the_kubelet_reaches_pods_whatever_policies_say():
    pods = {("default", "a"): objects.pod("a", "n1")}
    deny = {("default", "deny"): objects.policy("deny", policyTypes=["Ingress", "Egress"])}
    state = State(pods=pods, policies=deny, attached={("default", "a"): Attached(0, ("10.244.1.8",))})
    rules = Rules(policy_cube(state, "n1", ["192.0.2.1"], []))
    assert rules.accepts("INGRESS", Flow("192.0.2.1", "10.244.1.8", "TCP", 80))
    assert not rules.accepts("INGRESS", Flow("192.0.2.2", "10.244.1.8", "TCP", 80))
    assert not rules.accepts("EGRESS", Flow("10.244.1.8", "192.0.2.2", "TCP", 80))


def test_pods_of_the_hosts_network_and_ended_ones_are_no_peers():
    pods = {("default", "a"): objects.pod("a", "n1"), ("default", "h"): objects.pod("h", "n2", ips=["172.30.0.12"], host_network=True, app="b"),
            ("default", "e"): objects.pod("e", "n2", ips=["10.244.2.9"], phase="Succeeded", app="b")}  # fmt: skip
    only_b = {("default", "b"): objects.policy("b", ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "b"}}}]}])}
    state = State(pods=pods, policies=only_b, attached={("default", "a"): Attached(0, ("10.244.1.8",))})
    rules = Rules(policy_cube(state, "n1", [], []))
    for address in ("172.30.0.12", "10.244.2.9"):
        assert not rules.accepts("INGRESS", Flow(address, "10.244.1.8", "TCP", 80))


def test_a_pod_that_comes_changes_a_set_and_no_rule():
    deny = {("default", "b"): objects.policy("b", ingress=[{"from": [{"podSelector": {}}]}])}

    def cube(*names: str) -> dict[str, Any]:
        pods = {("default", name): objects.pod(name, "n1") for name in names}
        attached = {("default", name): Attached(at, (f"10.244.1.{8 + at}",)) for at, name in enumerate(names)}
        return policy_cube(State(pods=pods, policies=deny, attached=attached), "n1", [], [])

    one, two = cube("a"), cube("a", "b")
    assert one["chain"] == two["chain"]
    assert one["set"] != two["set"]

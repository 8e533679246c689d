"""A node's document: valid for random clusters, the same for the same cluster, and with what each kind of service needs."""
from __future__ import annotations

import json
import random
from typing import Any

import pytest

from providers.kubernetes.document import node_document
from providers.kubernetes.services import served
from providers.kubernetes.settings import Settings, family_of, slot_of
from providers.kubernetes.state import Attached, State
from reconciler.check import check
from reconciler.document import Document
from reconciler.service.registry import Services
from tests.providers.kubernetes import objects
from tests.providers.kubernetes.test_policies import cluster

SETTINGS = Settings(service_ranges=("10.96.0.0/16", "fd00:96::/112"), slots=12)
NODES = {("", f"n{i}"): objects.node(f"n{i}", (f"10.244.{i}.0/24", f"fd00:244:0:{i}::/64"), f"172.30.0.1{i}", f"fd00:30::1{i}") for i in (1, 2)}
HTTP = {"name": "http", "port": 80}


def node_state(*services: dict[str, Any], slices: tuple[dict[str, Any], ...] = (), **more: Any) -> State:
    def named(items: Any) -> dict[tuple[str, str], Any]:
        return {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in items}

    return State(nodes=NODES, services=named(services), slices=named(slices), **more)


def rows(state: State, balancer: str) -> dict[tuple[str, int], dict[str, Any]]:
    families = {4: family_of("10.244.1.0/24", SETTINGS), 6: family_of("fd00:244:0:1::/64", SETTINGS)}
    return {(vip, port): row for (vip, port, _), row in served(state, "n1", families).rows[balancer].items()}


def backends(row: dict[str, Any]) -> list[str]:
    return [f"{each['ip']}:{each['port']}" for each in row.get("backend", ())]


def problems(data: Any) -> None:
    check([Document("node", "", data)], Services())  # raises DocumentError


@pytest.mark.parametrize("seed", range(12))
def test_the_document_of_a_random_cluster_is_valid_and_the_same_each_time(seed):
    rng = random.Random(seed)
    found, _ = cluster(rng)
    types = ("ClusterIP", "NodePort", "LoadBalancer")
    services = {("blue", f"s{n}"): objects.service(
        f"s{n}", f"10.96.1.{n}", *([f"fd00:96::{n:x}"] if n % 2 else []), space="blue", type=types[n % 3],
        ports=[{"name": "a", "port": 80, "protocol": rng.choice(("TCP", "UDP", "SCTP")), **({"nodePort": 30000 + n} if n % 3 else {})}],
        externalTrafficPolicy=rng.choice(("Local", "Cluster")), internalTrafficPolicy=rng.choice(("Local", "Cluster")),
        sessionAffinity=rng.choice(("None", "ClientIP")), externalIPs=[f"198.51.100.{n}"] if n % 4 == 0 else [],
        balanced=[f"203.0.113.{n}"] if n % 3 == 2 else [], loadBalancerSourceRanges=["192.0.2.0/24"] if n % 2 else []) for n in range(1, 20)}  # fmt: skip
    parts = {("blue", f"s{n}-4"): objects.slices(f"s{n}", 8080, *(objects.endpoint(f"10.244.{e % 2 + 1}.{20 + e}", f"n{e % 2 + 1}")
             for e in range(rng.randint(0, 4))), space="blue", port_name="a") for n in range(1, 20)}  # fmt: skip
    state = State(NODES, found.namespaces, found.pods, services, parts, found.policies, found.attached)
    made = node_document(state, "n1", SETTINGS)
    problems(made.topology)
    assert json.dumps(made.topology) == json.dumps(node_document(state, "n1", SETTINGS).topology)


def test_a_block_without_one_address_or_without_the_same_range_twice_is_valid():
    block = {"cidr": "10.244.0.0/16", "except": ["10.244.0.33/32", "10.244.5.0/24", "10.244.5.7/24"]}
    six = {"cidr": "fd00::/16", "except": ["fd00::1/128"]}
    made = objects.policy("p", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": block}, {"ipBlock": six}]}])
    pods = {("default", "a"): objects.pod("a", "n1", ips=["10.244.1.8"])}
    state = State(NODES, {("", "default"): objects.namespace("default")}, pods, policies={("default", "p"): made})
    topology = node_document(state, "n1", SETTINGS).topology
    problems(topology)
    sets = next(cube["set"] for cube in topology["spec"]["cubes"] if cube["name"] == "policy")
    assert ["10.244.0.33", "10.244.5.0/24"] in [each["prefix"] for each in sets]


@pytest.mark.parametrize("ranges", [("10.244.1.0/24",), ("fd00:244:0:1::/64",), ("10.244.1.0/28", "fd00:1::/64")])
def test_each_family_alone_and_a_small_range_are_valid(ranges):
    nodes = {("", "n1"): objects.node("n1", ranges, "172.30.0.11", "fd00:30::11")}
    problems(node_document(State(nodes=nodes), "n1", SETTINGS).topology)


def test_a_node_without_a_range_or_with_one_without_room_is_an_error():
    with pytest.raises(ValueError, match="no pod range"):
        node_document(State(), "n1", SETTINGS)
    with pytest.raises(ValueError, match="no room"):
        node_document(State(nodes={("", "n1"): objects.node("n1", ("10.0.0.0/29",))}), "n1", SETTINGS)


def test_an_endpoint_that_is_ready_goes_before_one_that_terminates():
    ready, ending = objects.endpoint("10.244.1.9", ready=True), objects.endpoint("10.244.1.8", ready=False, serving=True, terminating=True)
    gone = objects.endpoint("10.244.1.7", ready=False, serving=False, terminating=True)
    web = objects.service("web", "10.96.0.1", ports=[HTTP])
    both = rows(node_state(web, slices=(objects.slices("web", 80, ready, ending, gone, port_name="http"),)), "pods")
    last = rows(node_state(web, slices=(objects.slices("web", 80, ending, gone, port_name="http"),)), "pods")
    assert backends(both["10.96.0.1", 80]) == ["10.244.1.9:80"]
    assert backends(last["10.96.0.1", 80]) == ["10.244.1.8:80"]


def test_an_endpoint_whose_readiness_is_not_said_is_ready():
    web = objects.service("web", "10.96.0.1", ports=[HTTP])
    found = rows(node_state(web, slices=(objects.slices("web", 80, {"addresses": ["10.244.1.9"]}, port_name="http"),)), "pods")
    assert backends(found["10.96.0.1", 80]) == ["10.244.1.9:80"]


def test_policies_of_traffic_choose_endpoints():
    here, there = objects.endpoint("10.244.1.9", "n1"), objects.endpoint("10.244.2.9", "n2")
    web = objects.service("web", "10.96.0.1", ports=[{**HTTP, "nodePort": 30080}], type="NodePort", externalTrafficPolicy="Local",
                          internalTrafficPolicy="Local", healthCheckNodePort=32000)  # fmt: skip
    state = node_state(web, slices=(objects.slices("web", 80, here, there, port_name="http"),))
    assert backends(rows(state, "pods")["10.96.0.1", 80]) == ["10.244.1.9:80"]
    assert backends(rows(state, "local")["100.126.112.3", 30080]) == ["10.244.1.9:80"]
    assert backends(rows(state, "pods")["172.30.0.11", 30080]) == ["10.244.1.9:80", "10.244.2.9:80"]
    assert node_document(state, "n1", SETTINGS).health == {32000: ("default", "web", 1)}
    nowhere = node_state(web, slices=(objects.slices("web", 80, there, port_name="http"),))
    assert rows(nowhere, "local")["100.126.112.3", 30080]["no-backend"] == "DROP"
    assert node_document(nowhere, "n1", SETTINGS).health == {32000: ("default", "web", 0)}


def test_affinity_ranges_and_addresses_of_load_balancers():
    web = objects.service("web", "10.96.0.1", ports=[HTTP], type="LoadBalancer", balanced=["203.0.113.1"], sessionAffinity="ClientIP",
                          sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}}, loadBalancerSourceRanges=[" 192.0.2.0/24 "])  # fmt: skip
    found = rows(node_state(web), "host")
    assert found["10.96.0.1", 80]["affinity-timeout"] == 60
    assert "source-range" not in found["10.96.0.1", 80]
    assert found["203.0.113.1", 80]["source-range"] == ["192.0.2.0/24"]
    other = objects.service("web", "10.96.0.1", ports=[HTTP], type="LoadBalancer", balanced=["203.0.113.1"], loadBalancerSourceRanges=["2001:db8::/32"])
    assert rows(node_state(other), "host")["203.0.113.1", 80]["source-range"] == ["255.255.255.255/32"], "nobody, and not everybody"


def test_headless_external_names_and_sctp_have_no_rows_and_sctp_a_note():
    state = node_state(objects.service("headless", ports=[HTTP]), objects.service("name", type="ExternalName", ports=[]),
                       objects.service("sctp", "10.96.0.1", ports=[{"port": 7, "protocol": "SCTP"}]))  # fmt: skip
    assert rows(state, "pods") == {}
    assert ["SCTP" in note for note in node_document(state, "n1", SETTINGS).notes] == [True]


def test_a_host_port_is_served_with_the_clients_address():
    web = objects.pod("web", "n1", ports=({"containerPort": 8080, "hostPort": 80},))
    state = node_state(pods={("default", "web"): web}, attached={("default", "web"): Attached(0, ("10.244.1.8",))})
    assert backends(rows(state, "local")["100.126.112.3", 80]) == ["10.244.1.8:8080"]


def test_the_balancer_for_clients_that_keep_their_address_is_there_while_it_has_a_service():
    port = {**HTTP, "nodePort": 30080}
    for policy, is_there in (("Cluster", False), ("Local", True)):
        own = objects.service("web", "10.96.0.1", type="NodePort", ports=[port], externalTrafficPolicy=policy)
        made = node_document(node_state(own), "n1", SETTINGS).topology
        problems(made)
        cubes = {cube["name"]: cube for cube in made["spec"]["cubes"]}
        peers = {cube["name"]: next(each["peer"] for each in cube["ports"] if each["name"] == name)
                 for cube, name in ((cubes["pods"], "up"), (cubes["gateway"], "pods"))}  # fmt: skip
        assert ("local" in cubes) == is_there
        assert peers == ({"pods": "local:back", "gateway": "local:front"} if is_there else {"pods": "gateway:pods", "gateway": "pods:up"})


def test_without_services_there_are_no_rows():
    state = node_state(objects.service("web", "10.96.0.1", ports=[HTTP]))
    made = node_document(state, "n1", Settings(services="none", slots=4)).topology
    problems(made)
    assert [cube.get("service", []) for cube in made["spec"]["cubes"] if cube["service-name"] == "lbrp"] == [[], []]


def test_only_netdevs_of_slots_are_taken_for_pods():
    assert [slot_of(name) for name in ("pod0", "pod12", "pod", "pod01", "pod-1", "xpod1", "pod1x", "pod١")] == [0, 12, None, None, None, None, None, None]


def test_an_overlay_leads_to_each_other_node_by_the_first_address_of_its_pods():
    settings = Settings(service_ranges=SETTINGS.service_ranges, slots=12, mtu=1430, overlay="vxlan", vxlan_id=7)
    made = node_document(node_state(), "n1", settings)
    problems(made.topology)
    link = next(each for each in made.topology["spec"]["links"] if each["name"] == "pcn-vxlan")
    assert (link["id"], link["local"], link["mtu"]) == (7, "172.30.0.11", 1430)
    assert {"to": "10.244.2.0/32"} in link["routes"]
    assert {"to": "10.244.2.0/24", "via": "10.244.2.0"} in link["routes"]
    far = next(each for each in node_document(node_state(), "n2", settings).topology["spec"]["links"] if each["name"] == "pcn-vxlan")
    assert {(each.pods, each.mac, each.node) for each in made.tunnels} == {
        ("10.244.2.0/24", far["mac"], "172.30.0.12"), ("fd00:244:0:2::/64", far["mac"], "172.30.0.12")}  # fmt: skip
    assert made.routes == ()


@pytest.mark.parametrize(("overlay", "wire"), [("", "eth0"), ("vxlan", "pcn-vxlan")])
def test_the_hosts_stack_is_passed_by_only_if_that_is_asked_for(overlay, wire):
    def ports(direct: bool) -> dict[str, Any]:
        made = node_document(node_state(), "n1", Settings(slots=4, overlay=overlay, direct=direct)).topology
        problems(made)
        gateway = next(cube for cube in made["spec"]["cubes"] if cube["name"] == "gateway")
        return {port["name"]: port for port in gateway["ports"]}

    usual, direct = ports(direct=False), ports(direct=True)
    assert direct.pop("wire") == {"name": "wire", "peer": wire, "takes-for": "pods"}
    assert direct["up"].pop("short-cut") == "wire"
    assert direct == usual

"""What is kept of services from one time to the next makes no difference, but for the work."""
from __future__ import annotations

import random
from typing import Any

from providers.kubernetes.document import Kept, node_document
from providers.kubernetes.settings import Settings
from providers.kubernetes.state import Attached, State
from tests.providers.kubernetes import objects

SETTINGS = Settings(slots=6, service_ranges=("10.96.0.0/16",))
NODES = {("", "n1"): objects.node("n1", ("10.244.1.0/24",), "172.30.0.11")}


def service(number: int, rng: random.Random) -> dict[str, Any]:
    """Some share an address, are local ones, or are of another proxy."""
    more: dict[str, Any] = {}
    if rng.random() < 0.2:
        more = {"type": "NodePort", "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000 + number}
    if rng.random() < 0.1:
        more = {"type": "ExternalName"}
    port = {"port": 80, "nodePort": 30000 + number} if more else {"port": 80}
    return objects.service(f"s{number}", f"10.96.0.{number // rng.choice([1, 1, 2]) + 1}", ports=[port], **more)


def slices(number: int, rng: random.Random) -> dict[str, Any]:
    ends = [objects.endpoint(f"10.244.{rng.choice([1, 2])}.{rng.randrange(8, 200)}", rng.choice(["n1", "n2"])) for _ in range(rng.randrange(4))]
    return objects.slices(f"s{number}", 8080, *ends)


def changed(known: dict[Any, Any], make: Any, rng: random.Random) -> dict[Any, Any]:
    found = dict(known)
    for _ in range(rng.choice([0, 1, 1, 2, 30])):
        number = rng.randrange(40)
        name = "default", f"s{number}"
        if rng.random() < 0.2:
            found.pop(name, None)
        else:
            found[name] = make(number, rng)
    return found


def test_a_document_is_the_same_whatever_is_kept() -> None:
    rng, kept = random.Random(9), Kept()
    services: dict[Any, Any] = {("default", f"s{number}"): service(number, rng) for number in range(40)}
    ends: dict[Any, Any] = {("default", f"s{number}"): slices(number, rng) for number in range(40)}
    pod = objects.pod("web", "n1", ips=("10.244.1.8",), ports=({"containerPort": 80, "hostPort": 8080},))
    for turn in range(150):
        if rng.random() < 0.3:
            services = changed(services, service, rng)
        ends = changed(ends, slices, rng)
        attached = {("default", "web"): Attached(0, ("10.244.1.8",))} if turn % 7 == 0 else {}
        state = State(NODES, {}, {("default", "web"): pod}, services, ends, attached=attached)
        made, anew = node_document(state, "n1", SETTINGS, kept), node_document(state, "n1", SETTINGS)
        assert made == anew


def test_an_endpoint_that_changes_leaves_all_other_rows_the_same_objects() -> None:
    rng, kept = random.Random(1), Kept()
    services: dict[Any, Any] = {("default", f"s{number}"): objects.service(f"s{number}", f"10.96.0.{number + 1}", ports=[{"port": 80}]) for number in range(40)}
    ends: dict[Any, Any] = {("default", f"s{number}"): slices(number, rng) for number in range(40)}
    before = node_document(State(NODES, services=services, slices=ends), "n1", SETTINGS, kept)
    made: list[Any] = []
    known, kept.services.parts = kept.services.parts, kept.services.parts
    after = node_document(State(NODES, services=services, slices={**ends, ("default", "s7"): objects.slices("s7", 9999)}), "n1", SETTINGS, kept)
    assert known is kept.services.parts, "they were not put together anew"
    old, new = (document.topology["spec"]["cubes"][0]["service"] for document in (before, after))
    made = [row["vip"] for was, row in zip(old, new, strict=True) if was is not row]
    assert made == ["10.96.0.8"]

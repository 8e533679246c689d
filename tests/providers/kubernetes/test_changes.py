"""Documents of a node, before and after, as edits: applied, they make the one of the other."""

from __future__ import annotations

import copy
import random
from typing import Any

from providers.kubernetes.changes import MOST, changes
from reconciler.engine.edit import Change, edit
from reconciler.graph.documents import documents_equal, text_of
from reconciler.service.registry import Services

SERVICES = Services()


def service(number: int, *ports: int) -> dict[str, Any]:
    backends = [{"ip": "10.244.1.9", "port": port} for port in ports]
    return {"vip": f"10.96.{number >> 8}.{number & 255}", "vport": 80, "proto": "TCP", "name": "x", "backend": backends}


def document(services: list[Any], sets: list[Any] = [], **more: Any) -> dict[str, Any]:  # noqa: B006 - nobody changes it
    cubes = [{"name": "pods", "service-name": "lbrp", "service": services},
             {"name": "policy", "service-name": "firewall", "chain": [], **({"set": sets} if sets else {}), **more}]  # fmt: skip
    return {"apiVersion": "polycube.network/v1", "kind": "Topology", "metadata": {"name": "n"}, "spec": {"links": [], "cubes": cubes}}


def test_edits_make_of_the_old_document_the_new_one():
    rng = random.Random(3)
    old = document([service(number, 1, 2) for number in range(200)], [{"name": f"s{number}", "prefix": []} for number in range(20)])
    for _ in range(60):
        services, sets = (list(old["spec"]["cubes"][at].get(name, [])) for at, name in ((0, "service"), (1, "set")))
        for _ in range(rng.randrange(4)):
            del services[rng.randrange(len(services))]
        for at in rng.sample(range(len(services)), 3):
            services[at] = {**services[at], "backend": [{"ip": "10.244.1.10", "port": rng.randrange(1, 9)}]}
        services += [service(rng.randrange(1000, 60000), 7) for _ in range(rng.randrange(3))]
        if sets:
            sets.pop()
        new = document(services, sets)
        found = changes(old, new)
        assert found is not None
        made = old
        for each in found:
            made = edit(made, each["path"], Change(each["operation"], each.get("value")), SERVICES).document
        if not sets:
            made["spec"]["cubes"][1].pop("set", None)
        assert documents_equal(text_of(made), text_of(new))
        old = new


def test_what_says_the_same_is_no_edit_and_much_or_other_things_are_a_document():
    old = document([service(number, 1) for number in range(200)])
    assert changes(old, copy.deepcopy(old)) == []
    assert changes(old, document([service(number, 2 if number <= MOST else 1) for number in range(200)])) is None
    assert changes(old, document(old["spec"]["cubes"][0]["service"], loglevel="OFF")) is None
    other = document(old["spec"]["cubes"][0]["service"])
    other["spec"]["links"] = [{"name": "x"}]
    assert changes(old, other) is None
